"""A package index with one package, at each of the ports that are given."""

import base64
import hashlib
import http.server
import os
import sys
import threading
import zipfile

INFO = "small-1.0.dist-info/"
FILES = {
    "small.py": "def main():\n    print('a small answer')\n",
    INFO + "METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
    INFO + "WHEEL": "Wheel-Version: 1.0\nGenerator: suite\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    INFO + "entry_points.txt": "[console_scripts]\nsmall = small:main\n",
}
WHEEL = "small-1.0-py3-none-any.whl"


def line(name, text):
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(text)}\n"


os.makedirs("simple/small")
with zipfile.ZipFile(f"simple/small/{WHEEL}", "w") as wheel:
    for name, text in FILES.items():
        wheel.writestr(name, text)
    record = "".join(line(*file) for file in FILES.items())
    wheel.writestr(INFO + "RECORD", f"{record}{INFO}RECORD,,\n")
with open("simple/small/index.html", "w") as page:
    page.write(f"<!DOCTYPE html><html><body><a href='{WHEEL}'>{WHEEL}</a></body></html>")
for port in sys.argv[1:]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever).start()
