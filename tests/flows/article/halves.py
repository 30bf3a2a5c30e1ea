from PIL import Image, ImageOps

with Image.open("picture.png") as image:
    image = image.convert("RGB")
half = image.width // 2
right = ImageOps.invert(image.crop((half, 0, image.width, image.height)))
image.paste(right, (half, 0))
image.save("half-inverted.png")
