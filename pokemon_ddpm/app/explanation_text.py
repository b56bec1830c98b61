"""What the page "How it works" says, in Markdown."""

INTRODUCTION = """
## How a sprite comes out of noise

A diffusion model learns one thing: to look at a noisy picture and say what is under the noise. Noise is easily made,
so there are as many exercises as one likes. Whoever can do that a little can do it again and again, and ends with a
picture that nobody has drawn.
"""

FORWARD = """
### 1. Forwards: noise dissolves a picture

Training takes a sprite and a timestep from 0 to 999, and mixes the sprite with random noise. The later the timestep,
the less is left of the sprite. This needs no network, only a formula
([Ho et al. 2020](https://arxiv.org/abs/2006.11239), equation 4):

$$x_t = \\sqrt{\\bar\\alpha_t}\\; x_0 + \\sqrt{1 - \\bar\\alpha_t}\\; \\varepsilon$$

Here $x_0$ is the clean sprite, $\\varepsilon$ the noise, and $x_t$ what the network is shown.
"""

SCHEDULES = """
### 2. How fast? The noise schedule

$\\bar\\alpha_t$ falls from 1, all picture, to 0, all noise. The **linear** schedule spoils the picture early: in the
last third of the timesteps hardly anything is left to recognise. The **cosine** schedule
([Nichol & Dhariwal 2021](https://arxiv.org/abs/2102.09672)), called `squaredcos_cap_v2` in diffusers, falls more
slowly, so that more of the exercises teach something. The models that come with this project learned with the cosine.

The signal-to-noise ratio, $\\bar\\alpha_t / (1 - \\bar\\alpha_t)$, tells the same. Above the dotted line there is more
picture than noise, below it more noise than picture.

Move the timestep, and watch. (The creatures are small procedural ones that come with this project.)
"""

REVERSE = """
### 3. Backwards: a sprite appears

To draw, we start with nothing but noise. At each step the network says which clean sprite it expects, and the sample
moves a little way there, to an earlier timestep with less noise. Then the network looks again. At first it knows
little more than colour and rough shape; with every step its guess becomes sharper.

- The **type** that you ask for is told to the network at every step.
- **Guidance** asks it twice, with the type and without, and goes further in the direction in which the answers differ
  ([Ho & Salimans 2022](https://arxiv.org/abs/2207.12598)). More of it makes types clearer and sprites more alike.
- The **seed** decides on the noise at the start: the same seed with the same settings draws the same sprite.
- More **steps** are smaller ones. With a good solver ten or twenty do.

#### The last sprite that you drew

Above is the sample after each step, below what the network expected it to become.
"""

NOTHING_DRAWN = "You have not drawn a sprite yet. Generate one, and its steps appear here."
