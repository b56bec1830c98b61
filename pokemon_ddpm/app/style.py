"""The CSS of the page: theme, CSS and a color for each type. Nothing is loaded from another host."""

import gradio as gr

from pokemon_ddpm.vocabulary import TYPE_COLORS


def theme() -> gr.themes.Base:
    """Gradio's plain theme with more contrast, and the fonts of the visitor's system."""
    fonts = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}
    theme = gr.themes.Default(primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", **fonts)
    return theme.set(
        color_accent="*primary_600",
        body_background_fill="*neutral_50",
        block_background_fill_dark="*neutral_900",
        body_text_color_subdued="*neutral_600",
        link_text_color_dark="*primary_300",
        block_info_text_color="*neutral_600",
        block_title_text_weight="600",
        block_title_text_color="*neutral_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
    )


# A card in the gallery has the colors of its types, with which the caption begins.
TYPE_RULES = "\n".join(
    f"""#sprites button:has([alt^="{name} "], [alt^="{name}/"]) {{ --first: {color}; }}
#sprites button:has([alt*="/{name} "]) {{ --second: {color}; }}"""
    for name, color in TYPE_COLORS.items()
)
CSS = f"""
.gradio-container h1 {{ letter-spacing: -0.02em; }}
.gradio-container h1::after {{
  content: ""; display: block; height: 6px; max-width: 18rem; margin-top: 0.5rem; border-radius: 3px;
  background: linear-gradient(to right, {", ".join(TYPE_COLORS.values())});
}}
.dark .gradio-container {{ --color-accent: var(--primary-400); }}
.dark input[type="range"] {{ --neutral-200: var(--neutral-700); }}
.gradio-container footer .divider {{ display: none; }}
.reading {{ max-width: 48rem; }}
:focus-visible {{ outline: 3px solid var(--color-accent) !important; outline-offset: 2px; }}

#status {{ min-height: 2.5rem; display: flex; align-items: center; }}
#status .error, #status .clear-status {{ display: none !important; }}
#cancel, #vary, #other {{ flex: 0 1 auto; align-self: center; min-width: 8rem; }}

/* Pixel art stays sharp, and dark outlines can be seen on a dark page. */
#sprites img, .pixels {{ image-rendering: pixelated; background: white; }}
#sprites .grid-wrap {{ min-height: 14rem; max-height: none; overflow: visible; }}
#sprites .thumbnail-lg {{ flex-direction: column; aspect-ratio: auto; }}
#sprites .thumbnail-lg.selected {{ box-shadow: 0 0 0 2px var(--color-accent); }}
#sprites .thumbnail-lg > img {{ height: auto; aspect-ratio: 1; border-radius: 0; }}
#sprites .caption-label {{ position: static; max-width: none; border: 0; border-radius: 0; white-space: normal; }}
#sprites .caption-label::before {{
  content: ""; display: block; height: 5px; margin: -0.25rem -0.5rem 0.4rem;
  background: linear-gradient(to right, var(--first, #6b6b80) 50%, var(--second, var(--first, #6b6b80)) 50%);
}}
{TYPE_RULES}

.steps {{ display: grid; grid-template-columns: repeat(5, minmax(0, 6rem)); gap: 0.5rem; }}
.steps figure, .forward figure {{ margin: 0; }}
.steps figure {{ text-align: center; }}
.steps img {{ width: 100%; border: 1px solid var(--border-color-primary); }}
.steps img + img {{ border-top: 0; }}
.forward {{ display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; }}
.forward figure img {{ width: 100%; border-bottom: 5px solid var(--first); }}
.forward figcaption {{ margin-top: 0.5rem; }}
.chart {{ position: relative; grid-column: span 2; align-self: start; }}
.chart img {{ width: 100%; }}
.chart i {{ position: absolute; border-left: 2px solid var(--color-accent); }}
@media (min-width: 640px) {{
  #sprites .grid-container {{ grid-template-columns: repeat(4, minmax(0, 1fr)); }}
  .steps {{ grid-template-columns: repeat(10, minmax(0, 6rem)); }}
  .forward {{ grid-template-columns: repeat(2, minmax(0, 1fr)) repeat(2, minmax(0, 2fr)); }}
  .chart {{ grid-column: auto; }}
}}
@media (prefers-reduced-motion: reduce) {{
  * {{ animation-duration: 1ms !important; transition-duration: 1ms !important; }}
}}
"""
