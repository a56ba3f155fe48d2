"""A data folder of a few drawn pictures, in the form of the real one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np

FIRE_HEAD = "file,split,source,source_repo,license,n_fire,n_smoke,width,height,smoke_labelled,group"
STREET_HEAD = "file,split,source,source_repo,license,labelled_classes,augmented_by_source"


def street(seed: int) -> np.ndarray:
    """A picture of blocks that resembles no other seed's."""
    blocks = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(blocks, (96, 72), interpolation=cv2.INTER_NEAREST)


def burning(seed: int) -> np.ndarray:
    image = street(seed) // 4
    cv2.ellipse(image, (48, 40), (14, 24), 0, 0, 360, (20, 120, 250), -1)
    return image


def pack(path: Path, pictures: dict[str, tuple[np.ndarray, str]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, (image, text) in pictures.items():
            jpeg = cv2.imencode(".jpg", image)[1].tobytes()
            for inner, content in ((f"images/{name}.jpg", jpeg), (f"labels/{name}.txt", text.encode())):
                member = tarfile.TarInfo(inner)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_tiny_data(folder: Path) -> Path:
    """A tiny data folder whose test tars are no tars: who reads them fails."""
    fire = "0 .5 .55 .4 .8\n"
    train = {f"f{i}": (burning(i), fire) for i in range(4)} | {f"n{i}": (street(10 + i), "") for i in range(40)}
    pack(folder / "fire_smoke_train_0.tar", train)
    pack(folder / "fire_smoke_val.tar", {"v0": (burning(5), fire), "v1": (street(60), "")})
    pack(folder / "street_train.tar", {"s0": (street(70), "3 .5 .5 .2 .2\n"), "s1": (street(10), "")})
    pack(folder / "street_val.tar", {"w0": (street(80), "")})
    for name in ("fire_smoke_test_cctv", "fire_smoke_test_neg", "street_test"):
        (folder / f"{name}.tar").write_bytes(b"no training code may open this")
    rows = [f"f{i}.jpg,train,hiep,r,CC BY 4.0,1,0,96,72,{'yes' if i % 2 else 'unknown'},g" for i in range(4)]
    rows += [f"n{i}.jpg,train,nepal,r,CC BY 4.0,0,0,96,72,neg,g" for i in range(40)]
    rows += ["v0.jpg,val,hiep,r,CC BY 4.0,1,0,96,72,yes,g", "v1.jpg,val,nepal,r,CC BY 4.0,0,0,96,72,neg,g"]
    (folder / "fire_smoke_manifest.csv").write_text("\n".join([FIRE_HEAD, *rows]), encoding="utf-8")
    rows = [f"{name}.jpg,train,nepal,r,CC BY 4.0,motor_vehicle|two_wheeler,0" for name in ("s0", "s1", "w0")]
    (folder / "street_manifest.csv").write_text("\n".join([STREET_HEAD, *rows]), encoding="utf-8")
    return folder
