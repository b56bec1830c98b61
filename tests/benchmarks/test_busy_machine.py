import sys

import pytest

from benchmarks import busy_machine


def test_every_way_is_timed_idle_and_busy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    runs = []
    monkeypatch.setattr(busy_machine.subprocess, "run", lambda command, env, **_: runs.append((command[2], env)))
    monkeypatch.setattr(sys, "argv", ["busy_machine.py", "--turns", "2"])
    busy_machine.main()
    assert len(runs) == 12 and {command for command, _ in runs} == {"pokemon_ddpm.cli"}
    assert {env.get("OMP_WAIT_POLICY") for _, env in runs} == {None, "active", "passive"}
    assert capsys.readouterr().out.count("| 0.0 | 0.0 |") == 3
