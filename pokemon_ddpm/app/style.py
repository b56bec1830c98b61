"""How the page looks: a theme, a little CSS, and a colour for each type. Nothing of it is fetched from outside."""

import gradio as gr

# Of one lightness (OKLCH), dark enough to carry white text or to be text on white, light enough for the dark page.
TYPE_COLORS = {
    "bug": "#607615",
    "dark": "#74645b",
    "dragon": "#5c53da",
    "electric": "#8f6b06",
    "fairy": "#bf427c",
    "fighting": "#ba3535",
    "fire": "#c54a05",
    "flying": "#4e75af",
    "ghost": "#705aa8",
    "grass": "#298033",
    "ground": "#8f602e",
    "ice": "#0c7d87",
    "normal": "#75716a",
    "poison": "#973cb1",
    "psychic": "#d5225b",
    "rock": "#796f45",
    "steel": "#5a6f7e",
    "water": "#106dce",
}
OTHER_COLOR = "#6b6b80"
"""Of what is no type: any, none, and the classes of models that learned from other pictures."""
# Names alone: the browser takes what its system has.
FONT = ("ui-sans-serif", "system-ui", "sans-serif")
FONT_MONO = ("ui-monospace", "Consolas", "monospace")


def type_color(name: str) -> str:
    """The colour of a type, as "#rrggbb", for text and areas on a light or a dark page and under white text."""
    return TYPE_COLORS.get(name, OTHER_COLOR)


def theme() -> gr.themes.Base:
    """Flat cards on a quiet ground, with Gradio's variables for light and dark."""
    return gr.themes.Base(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="md",
        font=FONT,
        font_mono=FONT_MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_800",
        body_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_title_text_weight="600",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_large_text_weight="600",
        color_accent="*primary_600",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
    )


def _band() -> str:
    """All types' colours side by side, as a CSS gradient of hard edges."""
    width = 100 / len(TYPE_COLORS)
    stops = (f"{color} {i * width:.2f}% {(i + 1) * width:.2f}%" for i, color in enumerate(TYPE_COLORS.values()))
    return f"linear-gradient(to right, {', '.join(stops)})"


def _types() -> str:
    """Rules by which a picture's caption, which begins with its types, gives its card their colours."""
    card, firsts, seconds = "#sprites button:has", [], []
    for name, color in TYPE_COLORS.items():
        first, second = "--first: " + color, "--second: " + color
        firsts.append(f"""{card}([alt^="{name} "]), {card}([alt^="{name}/"]) {{ {first}; {second}; }}""")
        seconds.append(f"""{card}([alt*="/{name} "]) {{ {second}; }}""")
    return "\n".join([*firsts, *seconds])


CSS = f"""
.gradio-container h1 {{ font-size: 1.75rem; letter-spacing: -0.02em; margin-bottom: 0.25rem; }}
.gradio-container h1::after {{
  content: ""; display: block; height: 6px; max-width: 18rem; margin-top: 0.5rem; border-radius: 3px;
  background: {_band()};
}}
.gradio-container button.secondary, .gradio-container button.stop {{ font-weight: 500; }}
.gradio-container {{ overflow: clip; }}
.gradio-container .html-container {{ padding: 0; }}
.dark .gradio-container {{ --color-accent: var(--primary-400); }}
.dark input[type="range"] {{ --neutral-200: var(--neutral-700); }}
.gradio-container footer .divider {{ display: none; }}
.reading {{ max-width: 48rem; }}
:focus-visible {{ outline: 3px solid var(--color-accent) !important; outline-offset: 2px; }}
/* What stands beside something taller. */
#vary, #draw-other {{ align-self: center; }}
#first-type > .container {{ display: flex; flex-direction: column; justify-content: space-between; height: 100%; }}

/* The browser scales pictures to the window, which would blur pixel art. */
#sprites img, .pixels {{ image-rendering: pixelated; }}
#sprites .grid-wrap {{ min-height: 14rem; max-height: none; overflow: visible; }}
#sprites .gallery-container:has(.preview) {{ min-height: 26rem; }}
#sprites .grid-container {{ grid-template-columns: repeat(2, minmax(0, 1fr)); padding-top: 1.75rem; }}
#sprites .gallery-item {{ height: auto; }}
#sprites .thumbnail-lg {{ display: flex; flex-direction: column; height: auto; aspect-ratio: auto; }}
#sprites .thumbnail-lg > img {{ height: auto; aspect-ratio: 1; border-radius: 0; }}
#sprites .caption-label {{
  position: static; width: 100%; max-width: none; border: 0; border-radius: 0; white-space: normal;
  color: var(--body-text-color); opacity: 1;
}}
#sprites .caption-label::before {{
  content: ""; display: block; height: 5px; margin: -0.25rem -0.5rem 0.4rem;
  background: linear-gradient(to right, var(--first, {OTHER_COLOR}) 50%, var(--second, {OTHER_COLOR}) 50%);
}}
#sprites .caption {{ white-space: normal; }}
{_types()}

.dissolving, .charts {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
.dissolving figure {{ flex: 1 1 8rem; max-width: 16rem; margin: 0; }}
.dissolving img {{ width: 100%; border: 1px solid var(--border-color-primary); border-bottom: 5px solid var(--first) }}
.dissolving figcaption {{ margin-top: 0.5rem; color: var(--body-text-color); }}
.chart {{ position: relative; flex: 1 1 16rem; max-width: 30rem; color: var(--body-text-color); }}
.chart svg {{ display: block; width: 100%; height: auto; }}
.chart svg text {{ font-family: var(--font) !important; }}
.chart i {{ position: absolute; width: 0; border-left: 2px solid var(--color-accent); }}
.strip {{ display: grid; grid-template-columns: repeat(5, minmax(0, 6rem)); gap: 0.5rem; }}
.strip figure {{ margin: 0; text-align: center; color: var(--body-text-color-subdued); }}
.strip img {{ display: block; width: 100%; border: 1px solid var(--border-color-primary); }}
.strip img + img {{ border-top: 0; }}

@media (min-width: 640px) {{
  #sprites .grid-container {{ grid-template-columns: repeat(4, minmax(0, 1fr)); }}
  .strip {{ grid-template-columns: repeat(10, minmax(0, 6rem)); }}
}}
@media (max-width: 639px) {{
  /* The button stays in sight while one scrolls through what can be chosen: hence no hidden overflow above. */
  .row:has(> #generate) {{
    position: sticky; bottom: 0; z-index: 20; flex-wrap: nowrap; padding-block: 0.5rem;
    background: var(--body-background-fill);
  }}
  #generate, #cancel {{ min-width: 0; }}
}}
@media (prefers-reduced-motion: reduce) {{
  * {{ animation-duration: 1ms !important; transition-duration: 1ms !important; }}
}}
"""
