# curl: another host, no token, nothing else. A process, so a connection, for each call.
set -u

file=$(mktemp)
media=

call() { # path, then curl's arguments; the reply goes to $file
  curl -sS -o "$file" "$SIDECAR$1" "${@:2}"
}
says() { grep -q -e "$1" "$file"; }
is_picture() { [ "$(head -c 2 "$file" | od -An -tx1)" = " ff d8" ] && [ "$(wc -c <"$file")" -gt 16384 ]; }

act() {
  case $1 in
  users) call /cgi-bin/user/get && says '"total":3' ;;
  menu)
    call /cgi-bin/menu/create -d '{"button":[{"type":"click","name":"今日歌曲","key":"SONG"}]}' &&
      call /cgi-bin/menu/get && says 今日歌曲
    ;;
  template)
    call /cgi-bin/message/template/send -d "{\"touser\":\"$OPENID\",\"template_id\":\"t\",\"data\":{}}" && says '"msgid":3'
    ;;
  custom)
    call /cgi-bin/message/custom/send -d "{\"touser\":\"$OPENID\",\"msgtype\":\"text\",\"text\":{\"content\":\"你好\"}}" &&
      says '"errcode":0'
    ;;
  upload)
    printf picture | call '/cgi-bin/media/upload?type=image' -F 'media=@-;filename=a.jpg;type=image/jpeg' &&
      media=$(sed -n 's/.*"media_id":"\([^"]*\)".*/\1/p' "$file") && [ -n "$media" ]
    ;;
  download) call "/cgi-bin/media/get?media_id=$media" && is_picture ;;
  code) call /wxa/getwxacodeunlimit -d '{"scene":"a=1"}' && is_picture ;;
  datacube) call /datacube/getusersummary -d '{"begin_date":"2026-11-01","end_date":"2026-11-01"}' && says '"new_user":3' ;;
  esac
}

while read -r action; do
  if act "$action"; then
    echo '{"ok": true}'
  else
    echo '{"ok": false, "error": "the reply is not what was asked for"}'
  fi
done
rm -f "$file"
