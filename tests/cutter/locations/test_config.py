"""The configuration of upload locations: what it takes, and the sentence for each thing that it does not."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.cuts import CutType
from common.encoding import AudioCodec, Codec, Container, EncodingSettings
from common.errors import UserError
from common.limits import Limits
from cutter.locations import Settings, local, s3, youtube
from cutter.locations.config import KINDS, Common, Encoding, load
from cutter.locations.keys import Place, Secret, key_names, read_table
from delivery import configured

S3 = 'type = "s3"\nbucket = "bucket"\naccess_key_id = "key"\n'
LOCAL = 'type = "local"\nfolder = "videos"\n'
USER = json.dumps({"type": "authorized_user", "refresh_token": "r", "client_id": "c", "client_secret": "s"})


def test_defaults_are_those_of_the_code(tmp_path: Path) -> None:
    """A location of which little is said has the settings of one of which nothing is said."""
    location = load(configured(tmp_path, LOCAL))["place"]
    assert location.name == "place"
    assert location.settings == Settings()


def test_all_is_read(tmp_path: Path) -> None:
    """What the file says is what the cutter gets."""
    table = 'cut = "full"\nmost_bytes = 1000\nmost_seconds = 60\nat_once = 3\n[locations.place.encoding]\n'
    table += 'codec = "av1"\ncontainer = "webm"\naudio_codec = "opus"\nquality = 40\npreset = "6"\nten_bits = true\n'
    location = load(configured(tmp_path, LOCAL + table))["place"]
    encoding = EncodingSettings(Codec.AV1, Container.WEBM, AudioCodec.OPUS, quality=40, preset="6", ten_bits=True)
    assert location.settings == Settings(CutType.FULL, encoding, 1000, Limits(seconds=60), 3)


def test_youtube_has_its_own_limits(tmp_path: Path) -> None:
    """YouTube's limits hold where none are said, and where larger ones are."""
    (tmp_path / "user").write_text(USER)
    table = 'type = "youtube"\ncredentials_file = "user"\n'
    settings = load(configured(tmp_path, table + "most_seconds = 90000"))["place"].settings
    assert (settings.most_bytes, settings.limits.seconds) == (256_000_000_000, 12 * 3600)
    assert load(configured(tmp_path, table + "most_bytes = 5"))["place"].settings.most_bytes == 5


def test_paths_are_seen_from_the_file(tmp_path: Path) -> None:
    """A relative path is relative to the folder of the configuration."""
    place = Place(tmp_path / "a" / "locations.toml")
    assert read_table(local.Keys, {"folder": "../videos"}, place).folder == tmp_path / "videos"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("", r"locations\.place\.type in .*locations\.toml is missing: it is one of local, s3, youtube"),
        ('type = "ftp"', r"locations\.place\.type in .* must be one of local, s3, youtube"),
        ("type = 3", "must be one of local, s3, youtube"),
        ('type = "local"', r"locations\.place\.folder in .* is missing"),
        (LOCAL + "foldr = 1", r"locations\.place\.foldr in .* is no key here; there are at_once, create, cut,"),
        (LOCAL + 'create = "yes"', r"locations\.place\.create in .* must be true or false"),
        (LOCAL + "at_once = 0", "must be a whole number from 1 to 16"),
        (LOCAL + "at_once = true", "must be a whole number from 1 to 16"),
        (LOCAL + "at_once = 1.5", "must be a whole number from 1 to 16"),
        (LOCAL + 'cut = "quick"', "must be one of rough, fast, smart, full, archive"),
        (LOCAL + 'cut = ["full"]', "must be one of rough, fast, smart, full, archive"),
        (LOCAL + 'template = "{title}"', r"locations\.place\.template in .* must hold \{event\}"),
        (LOCAL + 'url = "ftp://x"', r"must be an address like https://example\.org/path"),
        (LOCAL + 'url = "https://user:hunter2@example.org"', "without a password"),
        (LOCAL + 'url = "https://example.org:port"', "must be an address"),
        (LOCAL + "encoding = 3", r"locations\.place\.encoding in .* must be a table"),
        (LOCAL + '[locations.place.encoding]\ncodec = "mpeg2"', r"encoding\.codec in .* must be one of h264"),
        (LOCAL + "[locations.place.encoding]\ncrf = 3", r"encoding\.crf in .* is no key here"),
        (LOCAL + '[locations.place.encoding]\ncontainer = "webm"', "encoding in .* does not fit together: webm cannot"),
        (LOCAL + "[locations.place.encoding]\nquality = 20\nbitrate = 90000", "Give a quality or a bit rate, not both"),
        ('type = "local"\nfolder = ""', "must be a text that is not empty"),
        ('type = "local"\nfolder = "a\\nb"', "without line breaks"),
        (S3, r"secret_access_key in .* is missing: give secret_access_key_file, a file that holds it"),
        (S3 + 'secret_access_key = "hunter2"', "must not stand there"),
        (S3 + 'secret_access_key_file = "none"', r"secret_access_key_file in .* names .*none, which cannot be read"),
        (S3 + 'secret_access_key_env = "NOT_SET"', "names the variable NOT_SET, which is not set"),
        (S3 + 'secret_access_key_env = "A"\nsecret_access_key_file = "b"', "is given twice"),
        (S3.replace('bucket"', 'b/c"') + 'secret_access_key_env = "SECRET"', "must be the name of a bucket"),
        (S3 + 'secret_access_key_file = "empty"', "which is empty"),
        (S3 + 'secret_access_key_file = "binary"', "which is no text"),
        ('type = "youtube"\ncredentials_file = "user"\npiece_bytes = 300000', "must be a multiple of 262144 from"),
    ],
)
def test_each_mistake_has_its_sentence(
    tmp_path: Path, table: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is said in one sentence with the key and the file, and without secrets."""
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "user").write_text(USER)
    with pytest.raises(UserError, match=sentence) as raised:
        load(configured(tmp_path, table))
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(".")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "has no upload location"),
        ("locations = 3", r"locations in .* must be a table"),
        ("[location.x]", r"location in .* is no key here"),
        ("[locations]\nx = 3", r"locations\.x in .* must be a table"),
        ('[locations."a b"]', "must have a name of letters"),
        ("[locations", "is no TOML"),
        ("\udcff", "is no TOML"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, content: str, sentence: str) -> None:
    """A file without locations, and one that is no TOML, are told."""
    file = tmp_path / "locations.toml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=sentence):
        load(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(UserError, match=r"cannot be read: .*none\.toml \(No such file or directory\)"):
        load(tmp_path / "none.toml")


def test_secrets_come_from_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret is read without the white space around it, from either source."""
    monkeypatch.setenv("SECRET", "one")
    (tmp_path / "secret").write_text("two\n")
    table = {"bucket": "bucket", "access_key_id": "key"}
    place = Place(tmp_path / "locations.toml")
    by_variable = read_table(s3.Keys, {**table, "secret_access_key_env": "SECRET"}, place)
    by_file = read_table(s3.Keys, {**table, "secret_access_key_file": "secret"}, place)
    assert (by_variable.secret_access_key.reveal(), by_file.secret_access_key.reveal()) == ("one", "two")


def test_secrets_are_not_shown() -> None:
    """Neither the secret nor what holds it shows it."""
    keys = s3.Keys("bucket", "key", Secret("hunter2"))
    assert "hunter2" not in f"{keys} {keys!r} {keys.secret_access_key}"
    assert "hunter2" in keys.secret_access_key.reveal()


def test_importing_the_locations_is_light() -> None:
    """What only some locations need is imported only if one of them is configured."""
    heavy = "{'obstore', 'google', 'requests', 'PIL', 'aiohttp'}"
    script = f"import sys, cutter.locations.config; print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


# The reference ------------------------------------------------------------------------------------------------------

TABLES = {
    "## Keys of every location": {"type": dataclasses.MISSING, **key_names(Common)},
    "The table `encoding`": key_names(Encoding),
    "## A folder": key_names(local.Keys),
    "## An S3-compatible store": key_names(s3.Keys),
    "## A YouTube channel": key_names(youtube.Keys),
}
# Where no default stands in the code, the page says which one holds.
SPOKEN = {"none", "the container's", "the codec's", "Amazon's"}


@pytest.mark.parametrize("heading", TABLES)
def test_the_reference_has_every_key_and_default(root: Path, heading: str) -> None:
    """Each key of the code is in docs/locations.md with its default and why, and no other."""
    page = (root / "docs" / "locations.md").read_text()
    table = page[page.index(heading) :].split("| --- |", 1)[1].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[1:]]
    said = {name: (default, why) for keys, default, why in rows for name in re.findall(r"`(\w+)`", keys)}
    assert {*said} == {*TABLES[heading]}
    for name, default in TABLES[heading].items():
        shown, why = said[name]
        assert why
        if default is None:
            assert shown in SPOKEN, name
        else:
            assert shown.strip("`") == ("required" if default is dataclasses.MISSING else spoken(default)), name


def spoken(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_first_example_is_sound(root: Path, tmp_path: Path) -> None:
    """The configuration that the page begins with is one."""
    page = (root / "docs" / "locations.md").read_text()
    found = re.search(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    (tmp_path / "locations.toml").write_text(found[1])
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "s3").write_text("secret")
    (tmp_path / "secrets" / "youtube.json").write_text(USER)
    assert [*load(tmp_path / "locations.toml")] == ["videos", "archive", "channel"]
    assert {"local", "s3", "youtube"} == {*KINDS}
