"""The style of the page beside style.css: theme, and a color for each type. Nothing is loaded from another host."""

import gradio as gr

from pokemon_ddpm.vocabulary import TYPE_COLORS


def theme() -> gr.themes.Base:
    """Gradio's plain theme with more contrast, and the fonts of the visitor's system."""
    fonts = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}
    theme = gr.themes.Default(primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", **fonts)
    return theme.set(
        body_text_color_subdued="*neutral_600",
        link_text_color_dark="*primary_300",
        block_info_text_color="*neutral_600",
    )


# A card in the gallery has the colors of its types, with which the caption begins.
TYPE_RULES = "\n".join(
    [
        f":root {{ --types: linear-gradient(to right, {', '.join(TYPE_COLORS.values())}); }}",
        *(
            f"""#sprites button:has([alt^="{name} "], [alt^="{name}/"]) {{ --first: {color}; }}
#sprites button:has([alt*="/{name} "]) {{ --second: {color}; }}"""
            for name, color in TYPE_COLORS.items()
        ),
    ]
)
