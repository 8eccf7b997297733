"""``python -m containerlab.generate``, in the checkout, writes ``containerlab/config``."""

from containerlab.generate import HERE, files

for path, text in files().items():
    (HERE / path).parent.mkdir(parents=True, exist_ok=True)
    (HERE / path).write_text(text, encoding="utf-8")
