"""`pokemon-ddpm describe`."""

from pathlib import Path

from pokemon_ddpm.diffusion import make_sampler
from pokemon_ddpm.vocabulary import CONDITIONS
from tests.commands import run
from tests.tiny_models import tiny_pipeline


def test_a_model_is_described(tmp_path: Path) -> None:
    pipeline = tiny_pipeline(vocabulary={name: list(CONDITIONS[name]) for name in ("type", "color")})
    pipeline.register_to_config(num_inference_steps=7, guidance_scale=2.5)
    pipeline.scheduler = make_sampler("dpmsolver++", pipeline.scheduler)
    pipeline.save_pretrained(tmp_path)
    weights = sum(weight.numel() for part in (pipeline.unet, pipeline.conditioner) for weight in part.parameters())
    assert run("describe", tmp_path) == (
        0,
        f"{tmp_path} 16x16 pixels, {weights / 1e6:.1f} million parameters by default 7 inference steps of dpmsolver++ "
        "with a guidance scale of 2.5; trained with 1,000 timesteps of squaredcos_cap_v2 and v_prediction "
        f"color: {', '.join(CONDITIONS['color'])} type: {', '.join(CONDITIONS['type'])}",
    )
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    code, output = run("describe", tmp_path)
    assert code == 2 and output.startswith(f"error: {tmp_path} ")
