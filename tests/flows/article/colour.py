from PIL import Image

with Image.open("picture.png") as image:
    red, green, blue = image.convert("RGB").getpixel((10, 20))
print(f"#{red:02x}{green:02x}{blue:02x}")
