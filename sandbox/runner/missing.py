"""What is said of an import that failed, never a bare ModuleNotFoundError: the nearest thing that is installed, or how to
install it; and of a network that is not there."""

import difflib
import importlib.util
import pkgutil
import socket
import sys
from collections.abc import Iterator

from . import network

_INSTEAD = {
    "pandas": "polars duckdb dask modin vaex pyspark cudf petl agate",
    "scipy.stats": "statsmodels pingouin lifelines pymc prophet pmdarima arch",
    "sklearn": "torch torchvision tensorflow keras jax xgboost lightgbm catboost fastai transformers umap hdbscan",
    "sklearn.feature_extraction.text": "nltk spacy gensim textblob",
    "plotly": "bokeh altair holoviews hvplot pygal pyecharts dash folium pydeck streamlit",
    "seaborn": "plotnine ggplot",
    "matplotlib": "wordcloud squarify geopandas cartopy mplfinance reportlab fpdf weasyprint",
    "pypdf": "fitz pymupdf pdfplumber PyPDF2 PyPDF3 PyPDF4 pdfminer camelot tabula pdf2image",
    "openpyxl": "xlrd xlwt pyxlsb python_calamine xlwings pyexcel",
    "zipfile": "docx pptx odf py7zr rarfile docx2txt",
    "cv2": "cv opencv skimage mahotas qrcode pyzbar",
    "PIL": "imageio pillow Image wand",
    "scipy.io.wavfile": "soundfile librosa pydub wave_file sounddevice audioread",
    "subprocess": "moviepy ffmpeg av mutagen",
    "scipy.optimize": "cvxpy pulp ortools pyomo cvxopt lmfit",
    "networkx": "igraph graphviz pygraphviz pydot",
    "numpy": "numba cupy numexpr bottleneck xarray",
    "sympy": "sage giac",
    "lxml": "xmltodict defusedxml html5lib pyquery parsel",
    "json": "yaml ruamel simplejson ujson orjson demjson",
    "tomllib": "toml tomli tomlkit",
    "re": "regex",
    "zoneinfo": "pytz",
    "datetime": "arrow pendulum dateparser",
    "difflib": "rapidfuzz fuzzywuzzy thefuzz Levenshtein jellyfish",
    "sqlite3": "sqlalchemy psycopg2 psycopg pymysql MySQLdb pymongo pyodbc cx_Oracle peewee records",
    "tabulate": "prettytable rich texttable terminaltables great_tables",
    "random": "faker mimesis",
    "pyarrow": "fastparquet feather",
    "cloudpickle": "dill",
    "fitdecode": "fitparse",
}
_NEAREST = {missing: instead for instead, names in _INSTEAD.items() for missing in names.split()}
_ONLINE = (
    "httpx aiohttp urllib3 selenium playwright scrapy mechanize yfinance pandas_datareader wikipedia openai anthropic"
    " boto3 slack_sdk discord praw tweepy kaggle datasets huggingface_hub googleapiclient gspread paramiko"
)
_DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "pymupdf",
    "pptx": "python-pptx",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}
"""Packages that are not called what is imported."""
NO_NETWORK = "This sandbox has no network: attach the data to the thread as a file instead."
_HOW = {
    "subprocess": "run the ffmpeg program with subprocess",
    "zipfile": "read it with zipfile and lxml: such files are archives of XML",
}


def hint(error: BaseException) -> str:
    """One line on a module that was not found, by the code or by a library it uses, or on a network that is not there; "" for
    any other error."""
    found = (it for it in (error, error.__cause__) if isinstance(it, ModuleNotFoundError) and isinstance(it.name, str))
    top = next((it.name.partition(".")[0] for it in found if it.name), "")
    if not top:
        offline = not network.has_hosts() and any(isinstance(it, socket.gaierror) for it in _chain(error))
        return NO_NETWORK if offline else ""
    if _installed(top):
        return ""
    if network.has_packages():
        return f"{top} is not installed; `!pip install {_DISTRIBUTIONS.get(top, top)}` in a line of its own installs it."
    if top in _ONLINE.split():
        return f"{top} is not installed, and this sandbox has no network: attach the data to the thread as a file instead."
    lead = f"{top} is not installed, and there is no network here to install it from"
    if instead := _nearest(top):
        return f"{lead}: {_HOW.get(instead) or f'use {instead} instead'}."
    return f"{lead}: write it with what is there, or attach the module's source to the thread as a file."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, the newest first."""
    for _ in range(20):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _nearest(top: str) -> str:
    known = _NEAREST.get(top, "")
    if known and _installed(known):
        return known
    names = {module.name for module in pkgutil.iter_modules()} | sys.stdlib_module_names
    return next(iter(difflib.get_close_matches(top, sorted(names), 1, 0.75)), "")


def _installed(name: str) -> bool:
    """Whether it could be imported. To find out its parent is, so no name from outside has one."""
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
