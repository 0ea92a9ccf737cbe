"""The elements of HTML by how a browser shows them (https://html.spec.whatwg.org/multipage/rendering.html)."""

from __future__ import annotations

# Hidden elements, and elements that are shown only if a browser lacks a feature.
HIDDEN = frozenset(
    "script style title noscript template head iframe object audio video canvas annotation annotation-xml datalist "
    "noembed noframes meter progress".split()
)
HEADINGS = frozenset("h1 h2 h3 h4 h5 h6".split())
PARAGRAPHS = frozenset(
    "p table ul ol dl menu dir section article aside nav main header footer blockquote div form fieldset figure details "
    "dialog address body hgroup search".split()
)
LINES = frozenset("tr dt dd hr legend caption figcaption summary option optgroup center".split())
CODE = frozenset("pre listing xmp plaintext".split())
BLOCKS = PARAGRAPHS | LINES | HEADINGS | CODE | {"li"}
# Labels that are separated from each other without a new line.
APART = frozenset("button select".split())
