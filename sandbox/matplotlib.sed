# Matplotlib asks the first font of a family and no other, so that a label in Chinese is a row of empty boxes under every style
# that names its own fonts (seaborn's do). Here every chain of fonts ends with one that has the characters.
s|^        return fpaths$|        weight = "Bold" if _normalize_weight(prop.get_weight()) > 500 else "Regular"\
        noto = [f"truetype/noto/NotoSans{name}-{weight}.ttf" for name in ("Arabic", "Devanagari", "Bengali", "Hebrew", "Thai")]\
        more = [f"opentype/noto/NotoSansCJK-{weight}.ttc", *noto, "truetype/ancient-scripts/Symbola_hint.ttf"]\
        return fpaths + [FontPath(f"/usr/share/fonts/{name}", 0) for name in more]|
