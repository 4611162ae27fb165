'use strict';

// wechat-api: `endpoint` is assigned, as setEndpoint puts https:// in front.
const fs = require('fs');
const os = require('os');
const path = require('path');
const { promisify } = require('util');

const API = require('wechat-api');
const { DAY, MENU, PICTURE, answer, isPicture } = require('./talk');

const { SIDECAR, APPID, OPENID } = process.env;
const api = new API(APPID, 'not-needed');
api.endpoint = SIDECAR;
const call = (name, ...args) => promisify(api[name].bind(api))(...args);
let media;

answer({
  users: async () => (await call('getFollowers')).data.openid.length === 3,
  menu: async () => {
    await call('createMenu', MENU);
    return JSON.stringify((await call('getMenu')).menu) === JSON.stringify(MENU);
  },
  template: async () => (await call('sendTemplate', OPENID, 't', '', {})).errcode === 0,
  custom: async () => (await call('sendText', OPENID, '你好')).errcode === 0,
  upload: async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'wxproxy-'));
    const file = path.join(folder, 'a.jpg');
    fs.writeFileSync(file, PICTURE);
    media = (await call('uploadMedia', file, 'image')).media_id;
    fs.rmSync(folder, { recursive: true });
    return media;
  },
  download: async () => isPicture(await call('getMedia', media)),
  datacube: async () => (await call('getUserSummary', DAY, DAY)).list[0].new_user === 3,
});
