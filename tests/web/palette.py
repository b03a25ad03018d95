"""Make a picture of a page small: a palette of 256 colours instead of 24 bits for each pixel. The browser counts the colours."""

import base64
import struct
import zlib

from playwright.async_api import Page

# The 256 most frequent colours, and for each pixel the number of the nearest one.
_COUNT = """async (source) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
  const palette = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 256).map(([pixel]) => pixel);
  const parts = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const apart = (one, other) => parts(one).reduce((sum, part, index) => sum + (part - parts(other)[index]) ** 2, 0);
  const nearest = new Map(palette.map((pixel, index) => [pixel, index]));
  for (const pixel of counts.keys()) {
    if (nearest.has(pixel)) continue;
    let best = 0;
    palette.forEach((other, index) => { if (apart(pixel, other) < apart(pixel, palette[best])) best = index; });
    nearest.set(pixel, best);
  }
  let text = "";
  for (const pixel of pixels) text += String.fromCharCode(nearest.get(pixel));
  return { width: image.width, height: image.height, colours: palette.map(parts).flat(), pixels: btoa(text) };
}"""


async def with_palette(blank: Page, picture: bytes) -> bytes:
    """Return a PNG picture with a palette (https://www.w3.org/TR/png-3/). `blank` is an empty page of a browser."""
    counted = await blank.evaluate(_COUNT, f"data:image/png;base64,{base64.b64encode(picture).decode()}")
    width, height, pixels = counted["width"], counted["height"], base64.b64decode(counted["pixels"])
    rows = b"".join(b"\0" + pixels[start : start + width] for start in range(0, width * height, width))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)), (b"PLTE", bytes(counted["colours"])),
        (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""),
    )  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
