"""What is masked, and what is left as it is."""

import pytest

from reid_lightning.masking import without_password, without_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:pw@cam/1", "rtsp://cam/1"),
        ("rtsp://admin:s3/cr@et@cam/1", "rtsp://cam/1"),
        ("rtsp://cam/st?user=admin&password=pw&channel=1", "rtsp://cam/st?user=admin&password=***&channel=1"),
        ("rtsp://cam/user=admin_password=pw_channel=1", "rtsp://cam/user=admin_password=***"),
        ("http://cam/v?access_token=pw", "http://cam/v?access_token=***"),
        ("http://host:19530", "http://host:19530"),
        ("rtsp://cam/passage/1", "rtsp://cam/passage/1"),
        ("no address: token=1@2", "no address: token=1@2"),
    ],
)
def test_addresses(address, shown):
    assert without_password(address) == shown


def test_yaml():
    text = "token: abc\napi_key: null\nuri: 'http://u:p@h:1'\ndb_password: |\n  two\n  lines\nclass_token: 1\nkeys: 2\n"
    shown = without_secrets(text)
    assert shown.splitlines()[:3] == ["token: '***'", "api_key: null", "uri: 'http://h:1'"]
    assert "two" not in shown and "lines" not in shown and shown.endswith("keys: 2\n")


def test_a_secret_is_masked_wherever_the_text_goes_on():
    assert without_password("tried rtsp://a:b@c/1 and rtsp://d:e@f/2") == "tried rtsp://c/1 and rtsp://f/2"
