"""The arguments of `nanoasr app`; tests/ui tests the app itself."""

import pytest
from commands import run

from nanoasr.cli.parser import make_parser


def test_by_default_only_this_machine_is_let_in_and_nothing_is_shared():
    args = make_parser().parse_args(["app"])
    assert (args.host, args.share, args.auth, args.model, args.quantize) == ("127.0.0.1", False, None, None, None)
    assert (args.max_minutes, args.max_upload_mb) == (60, 200)


@pytest.mark.parametrize("flags", [["--auth", "nobody"], ["--max-minutes", "-1"], ["--max-upload-mb", "x"]])
def test_an_invalid_value_is_refused_and_named(flags, capsys):
    assert run("app", *flags) == 2
    assert f"argument {flags[0]}" in capsys.readouterr().err
