"""Measurements of wxproxy beside other proxies; run ``make bench``.

=================  ===========================================================================
figures, table     medians, quantiles, wrk's report; tables and how they are written; pure
machine            cores, processes, what a process used
client, rate, load blocking HTTP clients: calls, bursts, large bodies; a fixed rate; wrk
upstream, tokens   the stand-in for WeChat: nginx, with a certificate and a token endpoint
simple, proxies    what is measured, each in one process
relay              a delay, for a distance
watched            ``wxproxy serve`` with its loop watched, or with a feature left out
bench              what the cases share: the programs in use, rounds, notes
cases              the measurements
=================  ===========================================================================

Each proxy has one core; the load generator, the upstream and this program have the others.
"""
