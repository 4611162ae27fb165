"""Programs that drive one SDK each. They run in the SDK's environment, without the server's."""
