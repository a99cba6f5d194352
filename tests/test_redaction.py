"""What is masked, and what is left as it is."""

import pytest

from reid_lightning.redaction import without_password, without_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:pw@cam/1", "rtsp://cam/1"),
        ("rtsp://admin:p'w\"@cam/1", "rtsp://cam/1"),
        ("rtsp://admin:s3/cr@et@cam/1", "rtsp://cam/1"),
        ("rtsp://cam/st?user=admin&password=pw&channel=1", "rtsp://cam/st?user=***&password=***&channel=1"),
        ("http://cam/v?password=a;b&pin=1&X-Amz-Signature=x", "http://cam/v?password=***&pin=***&X-Amz-Signature=***"),
        ("http://cam/v?pass%77ord=pw", "http://cam/v?pass%77ord=***"),
        ("http://cam/v?pw", "http://cam/v?***"),
        ("http://cam/loginuse=admin/loginpas=pw", "http://cam/loginuse=admin/loginpas=***"),
        ("rtsp://admin:my pass@cam/1", "rtsp://cam/1"),
        ("rtsp:/admin:pw@cam/1", "rtsp:/cam/1"),
        ("rtsp://admin:p/a?s@cam/1", "rtsp://cam/1"),
        ("rtsp://admin:p?s@cam/1?channel=2", "rtsp://cam/1?channel=2"),
        ("rtsp://admin:p'/x@cam/1", "rtsp://cam/1"),
        ("rtsp://[::1]:554/1?user=a@b", "rtsp://[::1]:554/1?user=***"),
        ("source=rtsp://admin:my pass@cam/1", "source=rtsp://cam/1"),
        ("root:Milvus@host:19530", "host:19530"),
        ("C:/clips/me@home.mp4", "C:/clips/me@home.mp4"),
        ("see 'rtsp://a:b@c/1', then go on", "see 'rtsp://c/1', then go on"),
        ("rtsp://cam/user=admin_password=pw_channel=1", "rtsp://cam/user=admin_password=***"),
        ("http://cam/v?access_token=pw", "http://cam/v?access_token=***"),
        ("http://cam/v?pass=x&mail=a@b", "http://cam/v?pass=***&mail=***"),
        ("source=rtsp//admin:Secret77@127.0.0.1:1/x", "source=rtsp//127.0.0.1:1/x"),
        ("rtsp:admin:Secret77@127.0.0.1", "rtsp:127.0.0.1"),
        ("rtsp://admin:Secret77", "rtsp://***"),
        ("source=rtsp://admin:Secret77/x", "source=rtsp://***/x"),
        ("rtsp://admin:1234567", "rtsp://***"),
        ("cannot open 'rtsp://admin:Secret77': no", "cannot open 'rtsp://***': no"),
        ("http://127.0.0.1:1/x#Secret77", "http://127.0.0.1:1/x#***"),
        ("http://h/x?channel=1#Secret77", "http://h/x?channel=1#***"),
        ("Secret77@127.0.0.1:1", "127.0.0.1:1"),
        ("admin:Secret77@127.0.0.1/x", "127.0.0.1/x"),
        ("http://[FE80::1]:80/x", "http://[FE80::1]:80/x"),
        ("such as rtsp://<camera>/1, http://host:19530: no", "such as rtsp://<camera>/1, http://host:19530: no"),
        ("clips/me@home.mp4", "clips/me@home.mp4"),
        ("http://host:19530", "http://host:19530"),
        ("rtsp://cam/passage/1", "rtsp://cam/passage/1"),
        ("no address: token=1@2", "no address: token=1@2"),
        ("tried rtsp://a:b@c/1 and rtsp://d:e@f/2", "tried rtsp://c/1 and rtsp://f/2"),
    ],
)
def test_addresses(address, shown):
    assert without_password(address) == shown


def test_a_configuration_is_masked_at_every_depth():
    given = {
        "token": "abc",
        "api-key": None,
        "vectors": {"uri": "http://u:p@h:1", "db_password": "long " * 40},
        "cameras": [{"passphrase": "x", "name": "north"}, "rtsp://a:b@c/1"],
        "keys": 2,
        "wandb_key": "abc",
        "pw": "abc",
        "tokens_per_picture": 4,
        "class_token": True,
    }
    shown = without_secrets(given)
    assert shown["vectors"] == {"uri": "http://h:1", "db_password": "***"}
    assert shown["cameras"] == [{"passphrase": "***", "name": "north"}, "rtsp://c/1"]
    assert (shown["wandb_key"], shown["pw"]) == ("***", "***")
    assert (shown["token"], shown["api-key"], shown["keys"], shown["tokens_per_picture"]) == ("***", None, 2, 4)
