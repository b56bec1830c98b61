# Copyright 2026 The pokemon-ddpm authors. Licensed under the Apache License, Version 2.0.
"""Trains a class-conditional `UNet2DModel` for classifier-free guidance, and saves it as a pipeline.

    accelerate launch train_class_conditional.py --train_data_dir path/to/images --resolution 32 --use_ema

The folder has a folder of images for each class. To generate, diffusers is enough:

    pipeline = DiffusionPipeline.from_pretrained("ddpm-class-conditional", trust_remote_code=True)
    image = pipeline("cat").images[0]
"""

import argparse
import inspect
import json
import logging
import math
import os
from pathlib import Path

import datasets
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.logging import get_logger
from accelerate.utils import set_seed
from diffusers import DDPMScheduler, DiffusionPipeline, ImagePipelineOutput, UNet2DModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from diffusers.utils import make_image_grid
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image, ImageOps
from tqdm.auto import tqdm

logger = get_logger(__name__)


class ClassConditionalPipeline(DiffusionPipeline):
    """Generates images of given classes.

    Args:
        unet ([`UNet2DModel`]): A network with `num_class_embeds`; the last class means "no condition".
        scheduler ([`SchedulerMixin`]): The scheduler of the training, or one made from its configuration.
        id2label (`dict[int, str]`, *optional*): The names of the classes.
    """

    def __init__(self, unet, scheduler, id2label=None):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(id2label=id2label)
        self.labels = {label: int(id) for id, label in (id2label or {}).items()}

    @torch.no_grad()
    def __call__(self, class_labels, guidance_scale=2.0, num_inference_steps=100, generator=None, output_type="pil"):
        """Generates an image of one class, or of each in a list. They are names or ids; `None` is no condition.

        With a higher `guidance_scale` images follow their class more. 1 is no guidance, and takes half the time.
        """
        no_condition = self.unet.config.num_class_embeds - 1
        class_labels = class_labels if isinstance(class_labels, list) else [class_labels]
        ids = [no_condition if label is None else self.labels.get(label, label) for label in class_labels]
        if unknown := [id for id in ids if id not in range(no_condition + 1)]:
            raise ValueError(f"Unknown class {unknown[0]!r}. Choose from {list(self.labels) or range(no_condition)}.")

        device, size = self._execution_device, self.unet.config.sample_size
        ids = torch.tensor(ids, device=device)
        shape = (len(ids), self.unet.config.in_channels, size, size)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        sample = randn_tensor(shape, generator, device, self.unet.dtype) * self.scheduler.init_noise_sigma
        # Some schedulers add no noise in their steps
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        step_kwargs = {"generator": generator} if takes_generator else {}

        for t in self.progress_bar(self.scheduler.timesteps):
            model_input = self.scheduler.scale_model_input(sample, t)
            prediction = self.unet(model_input, t, class_labels=ids).sample
            if guidance_scale != 1:
                uncond = self.unet(model_input, t, class_labels=torch.full_like(ids, no_condition)).sample
                prediction = uncond + guidance_scale * (prediction - uncond)
            sample = self.scheduler.step(prediction, t, sample, **step_kwargs).prev_sample

        return ImagePipelineOutput(images=VaeImageProcessor().postprocess(sample, output_type))

    def save_config(self, save_directory, **kwargs):
        """Saves the code of this class, too, and names it in the configuration, for `trust_remote_code=True`."""
        super().save_config(save_directory, **kwargs)
        file, cls = Path(save_directory, self.config_name), type(self)
        config = json.loads(file.read_text()) | {"_class_name": ["pipeline", cls.__name__]}
        file.write_text(json.dumps(config, indent=2) + "\n")
        imports = (
            "import inspect\nimport json\nfrom pathlib import Path\n\nimport torch\n"
            "from diffusers import DiffusionPipeline, ImagePipelineOutput\n"
            "from diffusers.image_processor import VaeImageProcessor\n"
            "from diffusers.utils.torch_utils import randn_tensor\n\n\n"
        )
        Path(save_directory, "pipeline.py").write_text(imports + inspect.getsource(cls))


def parse_args(args=None):
    parser = argparse.ArgumentParser(description="Trains a class-conditional diffusion model.")
    parser.add_argument("--dataset_name", help="A data set on the Hub, or a folder that `load_dataset` takes.")
    parser.add_argument("--dataset_config_name", help="The configuration of the data set, if it has several.")
    parser.add_argument("--train_data_dir", help="A folder with a folder of images for each class (`imagefolder`).")
    parser.add_argument("--image_column", default="image", help="The column of the images.")
    parser.add_argument("--label_column", default="label", help="The column of the classes.")
    parser.add_argument("--model_config_name_or_path", help="The configuration of a `UNet2DModel` to train.")
    parser.add_argument("--output_dir", default="ddpm-class-conditional", help="The folder of the pipeline.")
    parser.add_argument("--seed", type=int, default=0, help="The same seed gives the same training.")
    parser.add_argument("--resolution", type=int, default=64, help="Images are resized and cropped to this size.")
    parser.add_argument("--random_flip", action="store_true", help="Whether to flip images horizontally at random.")
    parser.add_argument("--train_batch_size", type=int, default=16, help="Batch size (per device) of the training.")
    parser.add_argument("--eval_batch_size", type=int, default=4, help="The number of samples of each class.")
    parser.add_argument("--num_epochs", type=int, default=100, help="The number of passes through the images.")
    parser.add_argument("--max_train_steps", type=int, help="The number of updates, in place of `num_epochs`.")
    parser.add_argument("--save_model_epochs", type=int, default=10, help="How often to save model and samples.")
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1, help="Batches in an update.")
    parser.add_argument("--learning_rate", type=float, default=1e-4, help="The learning rate after the warm-up.")
    parser.add_argument("--lr_scheduler", default="cosine", help="A name that `get_scheduler` takes.")
    parser.add_argument("--lr_warmup_steps", type=int, default=500, help="The number of updates of the warm-up.")
    parser.add_argument("--use_ema", action="store_true", help="Whether to save an average of the weights.")
    parser.add_argument("--mixed_precision", choices=["no", "fp16", "bf16"], help="Default: Accelerate's.")
    parser.add_argument("--prediction_type", default="epsilon", choices=["epsilon", "sample", "v_prediction"])
    parser.add_argument("--ddpm_num_inference_steps", type=int, default=100, help="The steps of the samples.")
    parser.add_argument("--conditioning_dropout_prob", type=float, default=0.1, help="Share without condition.")
    parser.add_argument("--guidance_scale", type=float, default=2.0, help="The guidance of the samples.")
    parser.add_argument("--push_to_hub", action="store_true", help="Whether to push the pipeline to the Hub.")
    parser.add_argument("--hub_model_id", help="The repository. Default: the name of the output folder.")
    args = parser.parse_args(args)
    if (args.dataset_name is None) == (args.train_data_dir is None):
        parser.error("give either --dataset_name or --train_data_dir")
    if args.train_data_dir and not os.path.isdir(args.train_data_dir):
        parser.error(f"--train_data_dir is no folder: {args.train_data_dir}")
    if args.resolution < 8 or args.resolution % 8:
        parser.error(f"--resolution must be a multiple of 8, but is {args.resolution}")
    if not 0 <= args.conditioning_dropout_prob <= 1:
        parser.error(f"--conditioning_dropout_prob must be from 0 to 1, but is {args.conditioning_dropout_prob}")
    return args


def load_images(args):
    """Loads the training images, with class ids in the label column."""
    name = args.dataset_name or "imagefolder"
    dataset = datasets.load_dataset(name, args.dataset_config_name, data_dir=args.train_data_dir, split="train")
    for column in (args.image_column, args.label_column):
        if column not in dataset.column_names:
            columns = ", ".join(dataset.column_names)
            raise SystemExit(f"No column {column!r}, only {columns}. Make a folder a class, or see --label_column.")
    if isinstance(dataset.features[args.label_column], datasets.ClassLabel):
        return dataset
    return dataset.class_encode_column(args.label_column)


def main(args):
    accelerator = Accelerator(
        gradient_accumulation_steps=args.gradient_accumulation_steps, mixed_precision=args.mixed_precision
    )
    logging.basicConfig(format="%(asctime)s - %(levelname)s - %(name)s - %(message)s", level=logging.INFO)
    set_seed(args.seed)
    with accelerator.main_process_first():
        dataset = load_images(args)
    class_names = dataset.features[args.label_column].names
    no_condition = len(class_names)
    processor = VaeImageProcessor()

    def transform(examples):
        images = []
        for image in examples[args.image_column]:
            image = image.convert("RGBA")  # what is transparent becomes white
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
            images.append(ImageOps.mirror(image) if args.random_flip and torch.rand(()) < 0.5 else image)
        pixels = processor.preprocess(images, args.resolution, args.resolution, resize_mode="crop")  # in [-1, 1]
        labels = [no_condition if label is None or label < 0 else label for label in examples[args.label_column]]
        return {"pixel_values": pixels, "class_labels": labels}

    config = {"block_out_channels": (64, 128, 192, 256)}
    if args.model_config_name_or_path:
        config = UNet2DModel.load_config(args.model_config_name_or_path)
    # One more class for "no condition"
    sizes = {"sample_size": args.resolution, "in_channels": 3, "out_channels": 3, "num_class_embeds": no_condition + 1}
    model = UNet2DModel.from_config({**config, **sizes})
    noise_scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=args.prediction_type)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)
    dataloader = torch.utils.data.DataLoader(dataset.with_transform(transform), args.train_batch_size, shuffle=True)
    model, optimizer, dataloader = accelerator.prepare(model, optimizer, dataloader)
    steps_per_epoch = math.ceil(len(dataloader) / args.gradient_accumulation_steps)
    max_train_steps = args.max_train_steps or args.num_epochs * steps_per_epoch
    num_epochs = math.ceil(max_train_steps / steps_per_epoch)
    warmup, total = (steps * accelerator.num_processes for steps in (args.lr_warmup_steps, max_train_steps))
    lr_scheduler = get_scheduler(args.lr_scheduler, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    lr_scheduler = accelerator.prepare(lr_scheduler)
    # A decay of 0 keeps the newest weights
    ema_model = EMAModel(model.parameters(), decay=0.9999 if args.use_ema else 0.0, use_ema_warmup=True, power=3 / 4)
    ema_model.to(accelerator.device)

    def save(**hub):
        unet = accelerator.unwrap_model(model)
        ema_model.store(unet.parameters())
        ema_model.copy_to(unet.parameters())
        pipeline = ClassConditionalPipeline(unet, noise_scheduler, dict(enumerate(class_names)))
        pipeline.set_progress_bar_config(disable=True)
        rows = class_names[:20]
        labels = [name for name in rows for _ in range(args.eval_batch_size)]
        generator = torch.Generator().manual_seed(0)
        images = pipeline(labels, args.guidance_scale, args.ddpm_num_inference_steps, generator).images
        os.makedirs(args.output_dir, exist_ok=True)
        make_image_grid(images, len(rows), args.eval_batch_size).save(f"{args.output_dir}/samples.png")
        pipeline.save_pretrained(args.output_dir, **hub)
        ema_model.restore(unet.parameters())

    logger.info(f"{len(dataset)} images of {len(class_names)} classes, {max_train_steps} updates")
    progress_bar = tqdm(total=max_train_steps, disable=not accelerator.is_local_main_process)
    for epoch in range(num_epochs):
        for batch in dataloader:
            clean_images, class_labels = batch["pixel_values"], batch["class_labels"]
            # Condition dropout: the same network also learns the unconditional prediction
            dropped = torch.rand(class_labels.shape, device=class_labels.device) < args.conditioning_dropout_prob
            class_labels = class_labels.masked_fill(dropped, no_condition)

            noise = torch.randn_like(clean_images)
            timesteps = torch.randint(0, len(noise_scheduler), class_labels.shape, device=class_labels.device)
            noisy_images = noise_scheduler.add_noise(clean_images, noise, timesteps)
            velocity = noise_scheduler.get_velocity(clean_images, noise, timesteps)
            target = {"epsilon": noise, "sample": clean_images, "v_prediction": velocity}[args.prediction_type]

            with accelerator.accumulate(model):
                prediction = model(noisy_images, timesteps, class_labels=class_labels).sample
                loss = F.mse_loss(prediction.float(), target)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()

            if accelerator.sync_gradients:
                ema_model.step(model.parameters())
                progress_bar.update(1)
                progress_bar.set_postfix(loss=loss.detach().item(), lr=lr_scheduler.get_last_lr()[0])
                if progress_bar.n == max_train_steps:
                    break

        last = epoch == num_epochs - 1
        if accelerator.is_main_process and (last or (epoch + 1) % args.save_model_epochs == 0):
            hub = {"push_to_hub": True, "repo_id": args.hub_model_id or Path(args.output_dir).name}
            save(**hub if last and args.push_to_hub else {})
        accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(parse_args())
