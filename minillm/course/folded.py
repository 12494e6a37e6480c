"""What answers a question of "Guess first", folded until the reader opens it.

with folded():                    # all that is printed and drawn in here
    print("loss", loss)
folded()                          # as the last line of a cell: the figures that it has drawn
folded("The answer is 42.")       # or a text
"""

import base64
import builtins
import contextlib
import html
import io

from minillm.report import finished_pictures

SUMMARY = "The answer: guess first, then open"


class folded(contextlib.redirect_stdout):
    """A text that a notebook shows folded; as a context, what is printed and drawn in it; elsewhere it is printed."""

    def __init__(self, text: str = "", summary: str = SUMMARY):
        super().__init__(io.StringIO(text))
        self.summary, self.pictures = summary, []

    def __exit__(self, kind, error, trace) -> None:
        super().__exit__(kind, error, trace)
        self.pictures = finished_pictures()
        show = getattr(builtins, "display", None)  # only a notebook has it
        show(self) if show else print(self._new_target.getvalue(), end="")

    def __repr__(self) -> str:
        return f"[folded] {self.summary}"

    def _repr_html_(self) -> str:
        text = self._new_target.getvalue().strip("\n")
        shown = f"<pre>{html.escape(text, quote=False)}</pre>" if text else ""
        self.pictures += finished_pictures()
        for picture, words in self.pictures:
            data = base64.b64encode(picture).decode()
            shown += f'<p><img src="data:image/png;base64,{data}" alt="Figure: {html.escape(words)}"></p>'
        return f"<details><summary>{self.summary}</summary>\n{shown}\n</details>"
