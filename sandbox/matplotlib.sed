# Matplotlib asks the first font of a family and no other, so that a label in Chinese is a row of empty boxes under every style
# that names its own fonts (seaborn's do). Here every chain of fonts ends with one that has the characters.
s|^        return fpaths$|        weight = "Bold" if _normalize_weight(prop.get_weight()) > 500 else "Regular"\
        return [*fpaths, FontPath(f"/usr/share/fonts/opentype/noto/NotoSansCJK-{weight}.ttc", 0),\
                FontPath("/usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf", 0)]|
