'use strict';

// co-wechat-api: each of its calls goes through `request`; its prefixes miss cards and datacube.
const WechatAPI = require('co-wechat-api');
const { DAY, MENU, PICTURE, answer, isPicture } = require('./talk');

const { SIDECAR, APPID, OPENID } = process.env;

class API extends WechatAPI {
  request(url, ...more) {
    return super.request(url.replace('https://api.weixin.qq.com', SIDECAR), ...more);
  }
}

const api = new API(APPID, 'not-needed');
let media;

answer({
  users: async () => (await api.getFollowers()).data.openid.length === 3,
  menu: async () => {
    await api.createMenu(MENU);
    return JSON.stringify((await api.getMenu()).menu) === JSON.stringify(MENU);
  },
  template: async () => String((await api.sendTemplate(OPENID, 't', '', '', {})).msgid).length === 19,
  custom: async () => (await api.sendText(OPENID, '你好')).errcode === 0,
  upload: async () => {
    media = (await api.uploadMedia(PICTURE, 'image', 'a.jpg', 'image/jpeg')).media_id;
    return media;
  },
  download: async () => isPicture(await api.getMedia(media)),
  code: async () => isPicture(await api.getWXACodeUnlimit('a=1', 'index')),
  datacube: async () => (await api.getUserSummary(DAY, DAY)).list[0].new_user === 3,
});
