"""What a server refuses to be, and how it is given its secrets. No server runs here."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

from tracker.study.errors import TrackingError, UsageError
from tracker.study.home import Home
from tracker.tracking.server import foreground, lifecycle
from tracker.tracking.server.addresses import UI_VARIABLE, browsed_at
from tracker.tracking.server.record import record_path
from tracker.tracking.server.settings import Settings, is_loopback
from tracker.tracking.server.storage import Storage, split_password, without_password
from tracker.tracking.server.team import ADMIN_PASSWORD, SECRET_KEY, auth_environment, check_secrets

ANYWHERE = "0.0.0.0"  # noqa: S104 (no test listens there)
STRANGERS = ["evil.example", "10.evil.example", "192.168.evil.example:5000", "localhost.evil.example", "", "1.2.3.4"]
GOOD = {SECRET_KEY: "0123456789abcdef", ADMIN_PASSWORD: "a long password"}


@pytest.mark.parametrize("host", [ANYWHERE, "::", "192.0.2.1"])
@pytest.mark.parametrize("way", [lifecycle.start, foreground.run])
def test_an_open_address_without_a_password_is_refused(home: Home, host: str, way: object) -> None:
    """Only --team may listen where others reach it; nothing is written before that is said."""
    with pytest.raises(UsageError, match=f"--host {host} without --team is refused") as caught:
        if way is lifecycle.start:
            lifecycle.start(home, settings=Settings(host))
        else:
            foreground.run(home, None, Settings(host), print)
    assert "add --team" in str(caught.value)
    assert not home.root.exists()


def test_a_name_that_is_not_known_is_no_address() -> None:
    """A typing error is named, and not taken for an open address."""
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "192.0.2.1")] == [True, True, True, False]
    with pytest.raises(UsageError, match=r"--host nowhere\.invalid: not an address"):
        Settings("nowhere.invalid").check()


@pytest.mark.parametrize("host", ["*", "*:5000", "*.*", "http://a.example", "a/b", "a b", "a:b", ""])
def test_a_host_pattern_that_means_anybody_is_refused(host: str) -> None:
    """The check of names cannot be switched off, nor filled with what is no name."""
    with pytest.raises(UsageError, match="not a name this server could have"):
        Settings(allowed_hosts=(host,)).check()


@pytest.mark.parametrize(
    "origin", ["*", "https://*", "a.example", "https://a.example/path", "null", "https://u@a.example"]
)
def test_an_origin_that_means_any_site_is_refused(origin: str) -> None:
    """Nor the check of origins."""
    with pytest.raises(UsageError, match="not the address of one site"):
        Settings(cors_origins=(origin,)).check()


def test_mlflow_accepts_the_names_of_a_server_and_no_others() -> None:
    """By MLflow's own matching: this machine's names with any port, those given, and not its default's 10.*."""
    local = Settings().host_patterns()
    for host in ("localhost", "localhost:5000", "127.0.0.1:1", "[::1]", "[::1]:8080"):
        assert is_allowed_host_header(local, host), host
    assert [host for host in STRANGERS if is_allowed_host_header(local, host)] == []
    given = Settings(ANYWHERE, ("mlflow", "runs.example.org:443", "*.lan", "[fd00::1]"), team=True)
    given.check()
    wide = given.host_patterns()
    for host in ("mlflow", "mlflow:5000", "runs.example.org:443", "a.lan", "a.lan:5000", "[fd00::1]:5", "localhost:1"):
        assert is_allowed_host_header(wide, host), host
    for host in ("runs.example.org", "runs.example.org:80", "lan", "mlflow.evil.example", *STRANGERS):
        assert not is_allowed_host_header(wide, host), host
    assert is_allowed_host_header(Settings("192.0.2.1", team=True).host_patterns(), "192.0.2.1:5000")


def test_a_servers_own_pages_may_write_and_others_may_not() -> None:
    """A browser sends Origin with the UI's own requests: without them in the list MLflow would refuse its own UI."""
    settings = Settings(ANYWHERE, ("mlflow.example.org",), ("https://notebooks.example.org",), team=True)
    settings.check()
    origins = settings.origin_patterns()
    for origin in (
        "https://mlflow.example.org",
        "http://mlflow.example.org:5000",
        "https://notebooks.example.org",
        "http://localhost:3000",
    ):
        assert not should_block_cors_request(origin, "POST", origins), origin
    for origin in ("https://evil.example", "https://notebooks.example.org.evil.example", "null"):
        assert should_block_cors_request(origin, "POST", origins), origin
        assert should_block_cors_request(origin, "POST", Settings().origin_patterns()), origin


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({SECRET_KEY: ""}, "MLFLOW_FLASK_SERVER_SECRET_KEY is not set"),
        ({SECRET_KEY: "fifteen letters"}, "MLFLOW_FLASK_SERVER_SECRET_KEY is shorter than 16"),
        ({ADMIN_PASSWORD: ""}, "MLFLOW_AUTH_ADMIN_PASSWORD is not set"),
        ({ADMIN_PASSWORD: "elevenchars"}, "MLFLOW_AUTH_ADMIN_PASSWORD is shorter than 12"),
        ({ADMIN_PASSWORD: "password1234"}, "is the password that MLflow once shipped"),
    ],
)
def test_a_teams_server_has_no_default_secrets(
    home: Home, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], words: str
) -> None:
    """Missing, short or known to all the world: refused, with the command that makes one, and never quoted."""
    for name, value in (GOOD | change).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrackingError, match=words) as caught:
        lifecycle.start(home, settings=Settings(team=True))
    assert "openssl rand" in str(caught.value)
    assert not [value for value in change.values() if value and value in str(caught.value)]
    assert not record_path(home).exists()
    check_secrets(GOOD)


@pytest.mark.parametrize(
    ("uri", "without", "password"),
    [
        ("postgresql://u:p%40ss@h:5432/d?sslmode=require", "postgresql://u@h:5432/d?sslmode=require", "p@ss"),
        ("postgresql+psycopg://u@/d?host=/run/pg&password=s", "postgresql+psycopg://u@/d?host=/run/pg", "s"),
        ("postgresql://u:a/b?c@h/d", "postgresql://u@h/d", "a/b?c"),
        ("postgresql://u@h/d", "postgresql://u@h/d", None),
        ("postgresql://h/d", "postgresql://h/d", None),
    ],
)
def test_a_password_is_parted_from_its_address(uri: str, without: str, password: str | None) -> None:
    """What remains names the same database, fit for a file and a message."""
    assert split_password(uri) == (without, password)


@settings(max_examples=30)
@given(st.text(st.characters(codec="ascii", exclude_categories=["C"], exclude_characters="%@"), min_size=1))
def test_no_password_survives(password: str) -> None:
    """Whatever characters it is made of."""
    assert without_password(f"postgresql://u:{password}@h/d") == "postgresql://u@h/d"


def test_the_auth_configuration_holds_no_secret(tmp_path: Path) -> None:
    """It is its owner's alone, the password goes by libpq's variable; with SQLite the users have a file likewise."""
    home = Home(tmp_path / "50% home")
    home.make(home.server)
    backend = {"MLFLOW_BACKEND_STORE_URI": "postgresql://u:p%25w@h/d"}
    extra = auth_environment(home, Storage.of(home, backend))
    file = Path(extra["MLFLOW_AUTH_CONFIG_PATH"])
    assert extra["PGPASSWORD"] == "p%w"
    assert "database_uri = postgresql://u@h/d" in file.read_text()
    assert "p%" not in file.read_text() and "password" not in file.read_text()
    assert "PGPASSWORD" not in auth_environment(home, Storage.of(home, {}))
    assert "50%%25%%20home/server/auth.db" in file.read_text()
    for path in (file, home.server / "auth.db"):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_links_name_the_address_that_people_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRACKER_UI_URL where it is set, and never a password."""
    monkeypatch.delenv(UI_VARIABLE, raising=False)
    assert browsed_at("http://me:hidden@mlflow:5000") == "http://mlflow:5000"
    monkeypatch.setenv(UI_VARIABLE, "https://me:hidden@runs.example/mlflow/")
    assert browsed_at("http://mlflow:5000") == "https://runs.example/mlflow/"
    monkeypatch.setenv(UI_VARIABLE, "runs.example")
    with pytest.raises(UsageError, match=r"TRACKER_UI_URL=runs\.example is not an address"):
        browsed_at("http://mlflow:5000")


@pytest.mark.parametrize("uri", ["mysql://u:word@h/d", "sqlite:////elsewhere.db", "postgres://u:word@h/d"])
def test_another_kind_of_database_is_refused(home: Home, uri: str) -> None:
    """What is not tested is not promised; the password stays out of the message."""
    with pytest.raises(TrackingError, match="not a PostgreSQL database") as caught:
        Storage.of(home, {"MLFLOW_BACKEND_STORE_URI": uri})
    assert "word" not in caught.value.message
