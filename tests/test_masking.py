"""What is masked, and what is left as it is."""

import pytest

from reid_lightning.masking import without_password, without_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:pw@cam/1", "rtsp://cam/1"),
        ("rtsp://admin:p'w\"@cam/1", "rtsp://cam/1"),
        ("rtsp://admin:s3/cr@et@cam/1", "rtsp://cam/1"),
        ("rtsp://cam/st?user=admin&password=pw&channel=1", "rtsp://cam/st?user=admin&password=***&channel=1"),
        ("rtsp://cam/user=admin_password=pw_channel=1", "rtsp://cam/user=admin_password=***"),
        ("http://cam/v?access_token=pw", "http://cam/v?access_token=***"),
        ("http://cam/v?pass=x&mail=a@b", "http://cam/v?pass=***&mail=a@b"),
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
        "tokens_per_picture": 4,
        "class_token": True,
    }
    shown = without_secrets(given)
    assert shown["vectors"] == {"uri": "http://h:1", "db_password": "***"}
    assert shown["cameras"] == [{"passphrase": "***", "name": "north"}, "rtsp://c/1"]
    assert (shown["token"], shown["api-key"], shown["keys"], shown["tokens_per_picture"]) == ("***", None, 2, 4)
