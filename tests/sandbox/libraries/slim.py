"""One real use of each library of requirements-sandbox.in, a cell each, run inside the sandbox by test_image.py."""

# %% beautifulsoup4
import bs4

assert bs4.BeautifulSoup("<p>a<b>b</b>", "lxml").b.text == "b"

# %% cloudpickle
import pickle

import cloudpickle

assert pickle.loads(cloudpickle.dumps(lambda: 7))() == 7

# %% ipython
import IPython

assert IPython.get_ipython().run_line_magic("pwd", "") == "/workspace"

# %% jinja2
import pandas as pd

assert "<table" in pd.DataFrame({"a": [1]}).style.highlight_max().to_html()

# %% lxml
from lxml import etree

assert etree.XML("<a><b>1</b></a>").xpath("string(b)") == "1"

# %% matplotlib
import matplotlib.pyplot as plt

plt.plot([1, 2])
plt.savefig("m.svg")
plt.close()
assert "<svg" in open("m.svg").read()

# %% networkx
import networkx as nx

assert nx.shortest_path_length(nx.path_graph(5), 0, 4) == 4

# %% numpy
import numpy as np

assert np.allclose(np.linalg.inv(np.eye(3) * 2), np.eye(3) / 2)

# %% opencv-python-headless
import cv2
import numpy as np

done, data = cv2.imencode(".jpg", np.zeros((8, 8, 3), "uint8"))
assert done and cv2.imdecode(data, 1).shape == (8, 8, 3)

# %% openpyxl
import openpyxl

book = openpyxl.Workbook()
book.active["A1"] = 5
book.save("o.xlsx")
assert openpyxl.load_workbook("o.xlsx").active["A1"].value == 5

# %% pandas
import pandas as pd

assert pd.DataFrame({"k": list("aab"), "v": [1, 2, 3]}).groupby("k").v.sum()["a"] == 3

# %% pillow
from PIL import Image

Image.new("RGB", (4, 4), "red").save("p.webp")
assert Image.open("p.webp").size == (4, 4)

# %% pip
import subprocess
import sys

freeze = subprocess.run([sys.executable, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
assert "numpy==" in freeze
assert {line for line in freeze.splitlines() if "==" in line} <= set(open("/opt/cellmate/constraints.txt").read().splitlines())

# %% plotly
import plotly.graph_objects as go

assert "plotly" in go.Figure(go.Bar(y=[1, 2])).to_html(include_plotlyjs=False)

# %% pyarrow
import pandas as pd

pd.DataFrame({"a": [1, 2]}).to_parquet("a.parquet", engine="pyarrow")
assert len(pd.read_parquet("a.parquet")) == 2

# %% pypdf
import pypdf

writer = pypdf.PdfWriter()
writer.add_blank_page(72, 72)
writer.write("b.pdf")
assert len(pypdf.PdfReader("b.pdf").pages) == 1

# %% python-calamine
import pandas as pd

pd.DataFrame({"a": [1]}).to_excel("c.xlsx")
assert len(pd.read_excel("c.xlsx", engine="calamine")) == 1

# %% requests
import requests

assert requests.Request("GET", "https://example.org", params={"a": "b c"}).prepare().url == "https://example.org/?a=b+c"

# %% scikit-learn
from sklearn.linear_model import LinearRegression

assert round(LinearRegression().fit([[0], [1]], [1, 3]).coef_[0], 6) == 2

# %% scipy
from scipy import optimize

assert round(optimize.brentq(lambda x: x * x - 2, 0, 2), 3) == 1.414

# %% seaborn
import seaborn as sns

assert sns.scatterplot(x=[1, 2], y=[3, 4]).collections

# %% sympy
import sympy

x = sympy.symbols("x")
assert sympy.integrate(2 * x, x) == x**2

# %% tabulate
import tabulate

assert tabulate.tabulate([[1, 2]], headers=["a", "b"], tablefmt="github").startswith("|")

# %% tqdm
from tqdm.auto import tqdm

assert sum(tqdm(range(4))) == 6

# %% xlsxwriter
import pandas as pd

with pd.ExcelWriter("x.xlsx", engine="xlsxwriter") as out:
    pd.DataFrame({"a": [1]}).to_excel(out)
assert len(pd.read_excel("x.xlsx")) == 1
