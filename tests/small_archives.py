import io
import zipfile
from pathlib import Path

import datasets
from PIL import Image

COLUMNS = (
    "id,name,pokedex_id,type1,type2,primary_color,shape,legendary,"
    "mega_evolution,alolan_form,galarian_form,gigantamax,image_fn"
)
POKEDEX = f"""{COLUMNS}
0,Bulbasaur,1,Grass,Poison,Green,Quadruped,False,False,False,False,False,['1']
3,Venusaur Gmax,3,Grass,Poison,Green,Quadruped,False,False,False,False,True,['3_g']
33,Spearow,21,Normal,Flying,Brown,Wings,False,False,False,False,False,['21']
55,Sandshrew Alola,27,Ice,Steel,Yellow,Upright,False,False,True,False,False,['27_2']
77,Paras,46,Bug,Grass,Red,Armor,False,False,False,False,False,['46']
"""
BULBASAUR = "sprites/0000-Bulbasaur-1/front/normal/1-gen5.png"
SPEAROW = "sprites/0033-Spearow-21/front/normal/21-gen4_dp-frame2.png"
PARAS = "sprites/0077-Paras-46/front/normal/46-gen3_e.png"
IMAGES = [
    BULBASAUR,
    "sprites/0000-Bulbasaur-1/front/shiny/1-gen5.png",
    "sprites/0000-Bulbasaur-1/back/normal/1-gen5.png",
    "sprites/0003-Venusaur Gmax-3/front/normal/3_g-gen8-mini.png",
    SPEAROW,
    "sprites/0055-Sandshrew Alola-27/front/normal/27_2-gen7.png",
    PARAS,
]


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def sprite(shade: int) -> bytes:
    """A different image for every shade, all of the same number of bytes."""
    image = Image.new("RGB", (96, 96), "white")
    image.paste((shade, 100, 200), (30, 30, 60, 70))
    return png(image, compress_level=0)


def write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_small_archive(folder: Path) -> Path:
    """Seven images, in every split, view and finish."""
    write(folder, "pokedex.csv", POKEDEX.encode())
    for shade, name in enumerate(IMAGES):
        write(folder, name, sprite(shade))
    return folder


def zip_of(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def rows(sprites: datasets.DatasetDict) -> list[dict]:
    """The labels of all images by name, with the split and without the images."""
    result = []
    for split, part in sprites.items():
        part = part.remove_columns("image")
        columns = part.to_dict()
        for name, feature in part.features.items():
            if isinstance(feature, datasets.ClassLabel):
                columns[name] = [feature.names[value] for value in columns[name]]
        values = zip(*columns.values(), strict=True)
        result += [{"split": split, **dict(zip(columns, row, strict=True))} for row in values]
    return result


def encoded(part: datasets.Dataset) -> list[dict]:
    """The images as they are stored: their bytes, and a path if there is one."""
    return part.cast_column("image", datasets.Image(decode=False))["image"][:]
