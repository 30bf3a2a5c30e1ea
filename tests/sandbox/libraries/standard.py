"""One real use of each library of requirements-sandbox-standard.in, a cell each, run inside the sandbox by test_image.py."""

# %% altair
import altair as alt
import pandas as pd

chart = alt.Chart(pd.DataFrame({"a": [1, 2], "b": [3, 4]})).mark_line().encode(x="a", y="b")
assert '"mark"' in chart.to_json()

# %% audioop-lts
import audioop

assert audioop.max(b"\x01\x00\x05\x00", 2) == 5

# %% av
import av
import numpy as np

with av.open("av.mp4", "w") as out:
    stream = out.add_stream("mpeg4", rate=5)
    stream.width, stream.height = 32, 32
    for _ in range(5):
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), "uint8"))))
    out.mux(stream.encode())
assert len(list(av.open("av.mp4").decode(video=0))) == 5

# %% bokeh
from bokeh.embed import file_html
from bokeh.plotting import figure
from bokeh.resources import INLINE

plot = figure()
plot.line([1, 2], [3, 4])
assert len(file_html(plot, INLINE)) > 100_000

# %% cairosvg
import cairosvg

assert cairosvg.svg2png(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>')[:4] == b"\x89PNG"

# %% camelot-py
import camelot
from reportlab.lib.pagesizes import A4
from reportlab.platypus import SimpleDocTemplate, Table

SimpleDocTemplate("grid.pdf", pagesize=A4).build(
    [Table([["a", "b"], ["1", "2"]], style=[("GRID", (0, 0), (-1, -1), 1, "black")])]
)
assert camelot.read_pdf("grid.pdf")[0].df.values.tolist() == [["a", "b"], ["1", "2"]]

# %% charset-normalizer
import charset_normalizer

assert "größer" in str(charset_normalizer.from_bytes("Ein größerer Text über Äpfel und Öl".encode("cp1252")).best())

# %% defusedxml
from defusedxml import ElementTree

assert ElementTree.fromstring("<a>1</a>").text == "1"

# %% docxtpl
import docx
import docxtpl

document = docx.Document()
document.add_paragraph("Dear {{ name }}")
document.save("letter.docx")
letter = docxtpl.DocxTemplate("letter.docx")
letter.render({"name": "Ada"})
letter.save("ada.docx")
assert docx.Document("ada.docx").paragraphs[0].text == "Dear Ada"

# %% duckdb
import duckdb
import pandas as pd

numbers = pd.DataFrame({"n": [1, 2, 3]})
assert duckdb.sql("select sum(n) from numbers").fetchall() == [(6,)]

# %% ezdxf
import ezdxf

drawing = ezdxf.new()
drawing.modelspace().add_line((0, 0), (1, 1))
drawing.saveas("d.dxf")
assert len(ezdxf.readfile("d.dxf").modelspace()) == 1

# %% faker
from faker import Faker

Faker.seed(1)
assert "@" in Faker().email()

# %% fitdecode
import io

import fitdecode

records = bytes([0x40, 0, 0, 0, 0, 1, 0, 1, 0, 0, 4])  # a file_id that says: an activity
fit = bytes([14, 16, 0, 8, len(records), 0, 0, 0]) + b".FIT\0\0" + records + b"\0\0"
with fitdecode.FitReader(io.BytesIO(fit), check_crc=fitdecode.CrcCheck.DISABLED) as frames:
    data = [frame for frame in frames if isinstance(frame, fitdecode.FitDataMessage)]
assert data[0].get_value("type") == "activity"

# %% folium
import folium

assert "leaflet" in folium.Map(location=[52.5, 13.4]).get_root().render()

# %% geopandas
import geopandas
from shapely.geometry import Point

places = geopandas.GeoDataFrame({"n": [1]}, geometry=[Point(13.4, 52.5)], crs=4326)
assert abs(places.to_crs(25833).geometry.x[0] - 391_000) < 2_000

# %% gpxpy
import gpxpy

track = '<gpx version="1.1"><trk><trkseg><trkpt lat="1" lon="2"/></trkseg></trk></gpx>'
assert gpxpy.parse(track).tracks[0].segments[0].points[0].latitude == 1

# %% graphviz
import graphviz

graph = graphviz.Digraph()
graph.edge("a", "b")
assert b"<svg" in graph.pipe("svg")

# %% great-tables
import pandas as pd
from great_tables import GT

assert "<table" in GT(pd.DataFrame({"a": [1]})).as_raw_html()

# %% icalendar
import icalendar

assert icalendar.Calendar.from_ical("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nEND:VCALENDAR\r\n")["PRODID"] == "x"

# %% imageio
import imageio.v3 as iio
import numpy as np

iio.imwrite("i.tiff", np.arange(64, dtype="uint8").reshape(8, 8))
assert iio.imread("i.tiff")[7, 7] == 63

# %% kaleido
import plotly.graph_objects as go

assert go.Figure(go.Bar(y=[1, 2])).to_image("png")[:4] == b"\x89PNG"

# %% librosa
import librosa
import numpy as np

pitch = librosa.yin(np.sin(2 * np.pi * 440 * np.arange(22050) / 22050), fmin=100, fmax=1000)
assert abs(np.median(pitch) - 440) < 5

# %% lifelines
from lifelines import KaplanMeierFitter

assert KaplanMeierFitter().fit([1, 2, 3], [1, 1, 0]).median_survival_time_ == 2

# %% mammoth
import docx
import mammoth

document = docx.Document()
document.add_heading("Title", 1)
document.save("h.docx")
with open("h.docx", "rb") as file:
    assert mammoth.convert_to_html(file).value == "<h1>Title</h1>"

# %% msoffcrypto-tool
import io

import msoffcrypto
import openpyxl

openpyxl.Workbook().save("plain.xlsx")
locked = io.BytesIO()
with open("plain.xlsx", "rb") as file:
    msoffcrypto.OfficeFile(file).encrypt("secret", locked)
assert msoffcrypto.OfficeFile(locked).is_encrypted()

# %% mutagen
import subprocess

import mutagen

subprocess.run("ffmpeg -v error -y -f lavfi -i sine=d=1 m.mp3", shell=True, check=True)
assert abs(mutagen.File("m.mp3").info.length - 1) < 0.2

# %% ortools
from ortools.sat.python import cp_model

model = cp_model.CpModel()
x = model.new_int_var(0, 10, "x")
model.maximize(x)
solver = cp_model.CpSolver()
solver.parameters.num_workers = 1
solver.solve(model)
assert solver.value(x) == 10

# %% pdf2image
from pdf2image import convert_from_bytes
from weasyprint import HTML

assert len(convert_from_bytes(HTML(string="<p>one").write_pdf())) == 1

# %% pdfplumber
import io

import pdfplumber
from weasyprint import HTML

assert pdfplumber.open(io.BytesIO(HTML(string="<p>seven").write_pdf())).pages[0].extract_text() == "seven"

# %% pillow-heif
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()
Image.new("RGB", (64, 64), "red").save("p.heic")
assert Image.open("p.heic").size == (64, 64)

# %% pingouin
import pingouin

assert len(pingouin.ttest([1, 2, 3, 4], [2, 3, 4, 6])) == 1

# %% polars
import polars as pl

assert pl.DataFrame({"a": [1, 2]}).lazy().select(pl.col("a").sum()).collect().item() == 3

# %% py7zr
import py7zr

with py7zr.SevenZipFile("a.7z", "w") as archive:
    archive.writestr(b"seven", "a.txt")
assert py7zr.SevenZipFile("a.7z").getnames() == ["a.txt"]

# %% pydub
from pydub.generators import Sine

Sine(440).to_audio_segment(duration=200).export("s.ogg", format="ogg")
assert open("s.ogg", "rb").read(4) == b"OggS"

# %% pymupdf
import fitz
from weasyprint import HTML

assert fitz.open(stream=HTML(string="<p>eight").write_pdf())[0].get_text().strip() == "eight"

# %% pyogrio
import geopandas
from shapely.geometry import Point

geopandas.GeoDataFrame({"n": [1]}, geometry=[Point(0, 0)], crs=4326).to_file("g.gpkg", engine="pyogrio")
assert len(geopandas.read_file("g.gpkg")) == 1

# %% pyproj
from pyproj import Transformer

assert abs(Transformer.from_crs(4326, 3857).transform(0, 1)[0] - 111_319) < 1

# %% pyreadstat
import pandas as pd
import pyreadstat

pyreadstat.write_sav(pd.DataFrame({"a": [1.0, 2.0]}), "s.sav")
assert len(pd.read_spss("s.sav")) == 2

# %% pytesseract
import pytesseract
from PIL import Image, ImageDraw, ImageFont

page = Image.new("L", (500, 100), "white")
ImageDraw.Draw(page).text((20, 20), "Invoice 4711", "black", ImageFont.truetype("DejaVuSans.ttf", 48))
assert pytesseract.image_to_string(page).strip() == "Invoice 4711"
assert {"eng", "deu", "fra", "chi_sim"} <= set(pytesseract.get_languages())

# %% python-docx
import docx

document = docx.Document()
document.add_table(1, 2).cell(0, 1).text = "x"
document.save("t.docx")
assert docx.Document("t.docx").tables[0].cell(0, 1).text == "x"

# %% python-pptx
import pptx

slides = pptx.Presentation()
slides.slides.add_slide(slides.slide_layouts[0]).shapes.title.text = "Hello"
slides.save("s.pptx")
assert pptx.Presentation("s.pptx").slides[0].shapes.title.text == "Hello"

# %% pyxlsb
import pyxlsb

try:
    pyxlsb.open_workbook("letter.docx")
except KeyError as error:  # an archive, and none of its parts is a binary workbook's
    assert "workbook.bin" in str(error)
else:
    raise AssertionError

# %% pyzbar
import qrcode
from pyzbar.pyzbar import decode

assert decode(qrcode.make("zbar").get_image())[0].data == b"zbar"

# %% qrcode
import cv2
import numpy as np
import qrcode

code = np.array(qrcode.make("hello").get_image().convert("L"))
assert cv2.QRCodeDetector().detectAndDecode(code)[0] == "hello"

# %% rapidfuzz
from rapidfuzz import process

assert process.extractOne("appel", ["pear", "apple"])[0] == "apple"

# %% rasterio
import numpy as np
import rasterio
from rasterio.transform import from_origin

shape = {"height": 2, "width": 2, "count": 1, "dtype": "uint8", "crs": "EPSG:4326", "transform": from_origin(0, 2, 1, 1)}
with rasterio.open("r.tif", "w", driver="GTiff", **shape) as out:
    out.write(np.ones((1, 2, 2), "uint8"))
assert rasterio.open("r.tif").read(1).sum() == 4

# %% regex
import regex

assert regex.findall(r"\p{Greek}", "aλ") == ["λ"]

# %% reportlab
from reportlab.pdfgen import canvas

page = canvas.Canvas("c.pdf")
page.drawString(9, 9, "x")
page.save()
assert open("c.pdf", "rb").read(5) == b"%PDF-"

# %% scikit-image
import numpy as np
from skimage.measure import label

assert label(np.eye(3), connectivity=1).max() == 3

# %% shapely
from shapely.geometry import Point

assert abs(Point(0, 0).buffer(1).area - 3.14) < 0.01

# %% soundfile
import numpy as np
import soundfile

soundfile.write("f.flac", np.zeros(800), 8000)
assert soundfile.info("f.flac").frames == 800

# %% statsmodels
import numpy as np
import statsmodels.api as sm

fit = sm.OLS([1.0, 3.0, 5.0], sm.add_constant(np.arange(3.0))).fit()
assert abs(fit.params[1] - 2) < 1e-9

# %% trimesh
import trimesh

assert abs(trimesh.creation.box((1, 2, 3)).volume - 6) < 1e-9

# %% vl-convert-python
import altair as alt
import pandas as pd

alt.Chart(pd.DataFrame({"a": [1, 2], "b": [3, 4]})).mark_bar().encode(x="a", y="b").save("chart.png")
assert open("chart.png", "rb").read(4) == b"\x89PNG"

# %% weasyprint
from weasyprint import HTML

assert HTML(string="<h1>Grüße</h1>").write_pdf()[:5] == b"%PDF-"

# %% wordcloud
from wordcloud import WordCloud

assert WordCloud(width=64, height=64).generate("one two two").to_array().shape == (64, 64, 3)

# %% xlrd
import struct

import xlrd

number = struct.pack("<HHHH3xd", 3, 15, 0, 0, 5.0)  # the oldest form of a sheet: a beginning, one cell, an end
sheet = b"\x09\0\4\0\2\0\x10\0" + number + b"\x0a\0\0\0"
assert xlrd.open_workbook(file_contents=sheet).sheet_by_index(0).cell_value(0, 0) == 5

# %% zxing-cpp
import numpy as np
import qrcode
import zxingcpp

assert zxingcpp.read_barcodes(np.array(qrcode.make("zx").get_image().convert("L")))[0].text == "zx"
