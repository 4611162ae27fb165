'use strict';

// What the JavaScript runners share: the conversation on standard input and output.
const readline = require('readline');

exports.PICTURE = Buffer.from('\xff\xd8\xff picture \xff\xd9', 'latin1');
exports.MENU = { button: [{ type: 'click', name: '今日歌曲', key: 'SONG' }] };
exports.DAY = '2026-11-01';

// Whether this is the sandbox's picture, whole.
exports.isPicture = (data) =>
  data.length > 16384 && data.readUInt16BE(0) === 0xffd8 && data.readUInt16BE(data.length - 2) === 0xffd9;

// Do what is asked for, a line each; an action that gives a false value has failed.
exports.answer = async (actions) => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let reply;
    try {
      const ok = Boolean(await actions[line.trim()]());
      reply = { ok, error: ok ? '' : 'the reply is not what was asked for' };
    } catch (err) {
      reply = { ok: false, error: `${err.name}: ${String(err.message).slice(0, 200)}` };
    }
    console.log(JSON.stringify(reply));
  }
};
