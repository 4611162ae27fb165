<?php
// PHP's curl, at the account's own listener: another base URL, no token, nothing else.
$handle = curl_init();
$media = '';

function call(string $path, $body = null): string
{
    global $handle;
    curl_reset($handle);
    curl_setopt_array($handle, [
        CURLOPT_URL => getenv('SIDECAR_OF_ITS_OWN') . $path,
        CURLOPT_RETURNTRANSFER => true,
    ]);
    if ($body !== null) {
        curl_setopt($handle, CURLOPT_POSTFIELDS, $body);
    }
    $reply = curl_exec($handle);
    if ($reply === false) {
        throw new RuntimeException(curl_error($handle));
    }
    return $reply;
}

function json(string $path, ?array $body = null): array
{
    return json_decode(call($path, $body === null ? null : json_encode($body, JSON_UNESCAPED_UNICODE)), true);
}

function isPicture(string $data): bool
{
    return substr($data, 0, 2) === "\xff\xd8" && substr($data, -2) === "\xff\xd9" && strlen($data) > 16384;
}

$menu = ['button' => [['type' => 'click', 'name' => '今日歌曲', 'key' => 'SONG']]];
$openid = getenv('OPENID');
$day = '2026-11-01';

$actions = [
    'users' => fn() => json('/cgi-bin/user/get')['total'] === 3,
    'menu' => fn() => json('/cgi-bin/menu/create', $menu)['errcode'] === 0
        && json('/cgi-bin/menu/get')['menu'] == $menu,
    'template' => fn() => json('/cgi-bin/message/template/send', ['touser' => $openid])['msgid'] > 2 ** 61,
    'custom' => fn() => json('/cgi-bin/message/custom/send', ['touser' => $openid])['errcode'] === 0,
    'upload' => function () use (&$media) {
        $file = new CURLStringFile("\xff\xd8\xff picture", 'a.jpg', 'image/jpeg');
        $media = json_decode(call('/cgi-bin/media/upload?type=image', ['media' => $file]), true)['media_id'];
        return $media;
    },
    'download' => function () use (&$media) {
        return isPicture(call("/cgi-bin/media/get?media_id=$media"));
    },
    'code' => fn() => isPicture(call('/wxa/getwxacodeunlimit', '{"scene":"a=1"}')),
    'datacube' => fn() => json('/datacube/getusersummary', ['begin_date' => $day, 'end_date' => $day])['list'][0]['new_user'] === 3,
];

while (($line = fgets(STDIN)) !== false) {
    try {
        // What the reply lacks is a warning in PHP; here it is the error.
        $ok = (bool) @$actions[trim($line)]();
        $error = $ok ? '' : 'the reply is not what was asked for';
    } catch (Throwable $exc) {
        [$ok, $error] = [false, $exc->getMessage()];
    }
    echo json_encode(['ok' => $ok, 'error' => $error]), "\n";
}
