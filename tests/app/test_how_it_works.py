"""The figures of the tab "How it works"."""

import re

from pokemon_ddpm.app.how_it_works import forward_html
from pokemon_ddpm.diffusion import NoiseSchedule, make_scheduler


def test_forward_process() -> None:
    html, end = forward_html("fire", 500), forward_html("fire", 999)
    for name in ("linear", "squaredcos_cap_v2"):
        schedule = NoiseSchedule.of(make_scheduler(1000, name))
        assert f"ᾱ = {schedule.alpha_bar[500]:.3g}<br>signal to noise = {schedule.snr[500]:.3g}" in html
    assert len(set(re.findall(r"image/png;base64,([^\"]+)", html + end))) == 4
    assert 'style="left: 98.00%' in end  # the line in the charts
