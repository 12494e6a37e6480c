"""Every diagram: well-formed, said in words, nothing on top of anything else, readable in both modes, right numbers."""

import base64
import math
import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from minillm.metrics import bleu, rouge_l, rouge_n
from minillm.report import diagrams
from minillm.report.diagrams import DIAGRAMS, LESSONS, draw
from minillm.report.diagrams.canvas import MARGIN, WIDTH, Canvas
from minillm.report.diagrams.style import PALETTE, contrast, fitted, width_of, wrapped

SVG = "{http://www.w3.org/2000/svg}"
CANVASES = {name: draw(name) for name in DIAGRAMS}
each = pytest.mark.parametrize("name", DIAGRAMS)


def words(canvas: Canvas) -> str:
    return " | ".join(text.text for text in canvas.texts)


def shows(canvas: Canvas, *wanted: str) -> bool:
    return all(text in words(canvas) for text in wanted)


def overlap(a, b, by: float = 0.5) -> bool:
    return a.x + by < b.right and b.x + by < a.right and a.y + by < b.bottom and b.y + by < a.bottom


def crosses(start, end, box) -> bool:
    """Whether a segment passes through a box, by clipping it (Liang and Barsky)."""
    (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    low, high = 0.0, 1.0
    for way, inside in ((-dx, x - box.x), (dx, box.right - x), (-dy, y - box.y), (dy, box.bottom - y)):
        if way == 0:
            if inside < 0:
                return False
        elif way < 0:
            low = max(low, inside / way)
        else:
            high = min(high, inside / way)
    return low < high


def test_there_are_more_than_sixty_and_every_lesson_has_two_to_six():
    assert len(DIAGRAMS) >= 66
    assert len(LESSONS) == 30 and [name[:2] for name in LESSONS] == [f"{i:02d}" for i in range(1, 31)]
    assert all(2 <= len(names) <= 6 for names in LESSONS.values())
    used = [name for names in LESSONS.values() for name in names]
    assert sorted(used) == sorted(DIAGRAMS), "each in one lesson"
    assert all(getattr(diagrams, name) is DIAGRAMS[name] for name in DIAGRAMS)


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no diagram 'transformers': choose one of activation_patching, "):
        draw("transformers")


@each
def test_it_is_well_formed_and_said_in_words(name):
    canvas = CANVASES[name]
    root = ElementTree.fromstring(canvas.svg())
    assert root.tag == f"{SVG}svg" and root.get("viewBox") == f"0 0 {WIDTH} {canvas.height}"
    assert root.findtext(f"{SVG}title") == canvas.title and root.findtext(f"{SVG}desc") == root.get("aria-label")
    assert 8 <= len(canvas.title) <= 70 and canvas.title[-1] not in ".,"
    assert 50 <= len(canvas.alt) <= 450 and re.match("[A-Z0-9]", canvas.alt) and canvas.alt[-1] == "."
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|<script|\bon\w+=", canvas.svg())


@each
def test_a_notebook_gets_an_image_that_holds_its_own_data_and_its_alternative_text(name):
    canvas = CANVASES[name]
    image = ElementTree.fromstring(canvas._repr_html_().rstrip(">") + "/>")
    kind, data = image.get("src").split(",")
    assert image.tag == "img" and kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == canvas.svg() == canvas._repr_svg_()
    assert image.get("alt") == canvas.alt and "max-width:100%" in image.get("style")
    assert len(canvas._repr_html_()) < 30_000


def faults(canvas: Canvas) -> list[str]:
    """What is on top of something else, cut, or outside."""
    found = [f"{a.text} on {b.text}" for a, b in combinations(canvas.texts, 2) if overlap(a.box, b.box)]
    for text in canvas.texts:
        box = text.box
        if not (5 <= box.x and box.right <= WIDTH - 5 and 4 <= box.y and box.bottom <= canvas.height - 4):
            found.append(f"{text.text} leaves the picture")
        if text.text.endswith("…") and text.text != "…":
            found.append(f"{text.text} is cut")
        inner = box._replace(x=box.x + 1, w=box.w - 2, y=box.y + 0.15 * box.h, h=0.7 * box.h)
        if not text.opaque and any(crosses(start, end, inner) for start, end in canvas.segments):
            found.append(f"a line crosses {text.text}")
    corners = [(box.x, box.y) for box, _ in canvas.fills] + [(box.right, box.bottom) for box, _ in canvas.fills]
    for x, y in [*corners, *(point for segment in canvas.segments for point in segment)]:
        if not (1 <= x <= WIDTH - 1 and 1 <= y <= canvas.height - 1):
            found.append(f"something leaves the picture at ({x:.0f}, {y:.0f})")
    return found


@each
def test_no_two_texts_overlap_no_line_crosses_one_and_nothing_leaves_the_picture(name):
    assert faults(CANVASES[name]) == []


def test_planted_faults_are_found():
    canvas = Canvas("A title", "An alternative text.")
    assert faults(canvas) == []
    canvas.text(100, 60, "one")
    canvas.text(110, 64, "two")
    assert faults(canvas) == ["one on two"]
    canvas.line((80, 100), (200, 140))
    canvas.text(140, 120, "three")
    canvas.text(390, 160, "four")
    canvas.box(20, 180, 30, 20, "a long label")
    canvas.arrow((380, 200), (402, 200))
    shown = "; ".join(faults(canvas))
    assert "a line crosses three" in shown and "four leaves" in shown and "is cut" in shown and "(402, 200)" in shown


@each
def test_texts_are_legible_on_a_phone_and_in_both_modes(name):
    for text in CANVASES[name].texts:
        assert text.size * 340 / WIDTH >= 10, text.text
        for mode in (0, 1):
            assert contrast(PALETTE[text.ink][mode], PALETTE[text.ground][mode]) >= 4.5, (text.text, text.ground)


def test_the_colours_on_the_elements_are_the_light_ones_and_the_style_holds_the_dark_ones():
    svg = CANVASES["block"].svg()
    style = re.search(r"prefers-color-scheme:dark\)\{(.*?)\}</style>", svg)[1]
    dark = dict(re.findall(r"\.d-([fs]-[\w-]+)\{\w+:(#\w+)\}", style))
    for cls, colour in re.findall(r'class="d-(f-[\w-]+)" fill="(#\w+)"', svg):
        name = cls[2:].replace("-", " ")
        assert (colour, dark[cls]) == PALETTE[name]


def test_a_long_text_is_cut_wrapped_and_measured():
    assert width_of("abc", 10, mono=True) == 18
    assert width_of("ii", 10) < width_of("mm", 10) < width_of("mm", 10, bold=True)
    assert fitted("short", 100, 12) == "short"
    cut = fitted("a very long name of something", 60, 12)
    assert cut.endswith("…") and width_of(cut, 12) <= 60
    lines = wrapped("one two three four", 60, 12)
    assert " ".join(lines) == "one two three four" and all(width_of(line, 12) <= 60 for line in lines)


def test_a_long_text_of_a_lesson_stays_inside():
    many = "a rather long sentence of a lesson that goes on and on with further words".split()
    for canvas in (draw("shift", words=many), draw("bio_tags", words=many, tags=["O"] * len(many))):
        assert [fault for fault in faults(canvas) if "leaves" in fault] == []
    assert faults(draw("attention_row", words="we saw a fox and it".split(), scores=[0.1, 2, 0, 1, -1, 0])) == []


OTHER_SIZES = {
    "next_token": {"words": "abcdefg", "logits": [1, 2, 3, 0, 0, 0, -1.5]},
    "bigram_table": {"sentences": ["a b c d e f g h a"]},
    "one_query": {"words": "abcde", "query": (1, 2, 3), "keys": [(1, 0, 1)] * 5, "values": [(0.1, -0.2, 0.3)] * 5},
    "attention_masks": {"texts": ("abc", "d"), "pads": 2},
    "heads_cut": {"width": 128, "heads": 4},
    "kv_cache": {"words": "abcde"},
    "grouped_queries": {"heads": 8, "groups": (8, 2, 1)},
    "one_hot_lookup": {"table": [[0.1, -0.2, 0.3]] * 5},
    "sentence_probability": {"words": "abcdef", "chances": [0.5] * 6},
    "text_to_loss": {"text": "a b c d", "ids": (1, 2, 3, 4), "chances": (0.1, 0.2, 0.3)},
    "ladder_to_the_floor": {"losses": {"uniform": 3.0, "bigram": 1.1, "transformer": 0.6}, "floor": 0.5},
    "forgetting_matrix": {"tasks": "ABCD", "optima": ((1, 0), (0, 1), (-1, 0), (0, -1))},
    "roofline": {"peak": 500.0, "bandwidth": 20.0},
    "calibration": {"labels": "abc", "empty": (0.5, 0.3, 0.2), "asked": (0.4, 0.4, 0.2)},
    "gradient_accumulation": {"losses": (1, 2, 3, 4, 5, 6), "micro": 3},
    "grpo_group": {"rewards": [1.0] * 8},
    "lora_merge": {"b": (1.0, 2.0), "a": (1.0, 2.0, 3.0)},
    "block": {"width": 64, "time": 64, "inner": 128, "layers": 2, "vocabulary": 512},
    "trained_share": {"layers": 12, "width": 768, "inner": 3072, "vocabulary": 50257},
    "compute_optimal": {"computes": (1e14, 1e15)},
    "dpo_loss": {"policy": (-20.5, -31.25), "reference": (-22.0, -30.0)},
    "best_of_n": {"scores": (0.1, 0.2, 0.3, 0.5, 0.6, 0.7)},
    "packing": {"lengths": (3, 3, 3), "context": 9},
}


@pytest.mark.parametrize("name", OTHER_SIZES)
def test_values_of_another_size_stay_inside_too(name):
    assert faults(draw(name, **OTHER_SIZES[name])) == []


def test_a_terminal_shows_the_alternative_text():
    assert repr(CANVASES["block"]) == f"{CANVASES['block'].title}. {CANVASES['block'].alt}"


def test_what_is_a_tag_in_a_value_is_only_text_in_the_picture():
    canvas = draw("few_shot_prompt", examples=[("<b>", '"&')], query="</svg>", answer="<x>")
    assert "</svg>" in words(canvas)
    ElementTree.fromstring(canvas.svg())
    assert "<b>" not in canvas._repr_html_()


def test_grey_tells_heat_levels_apart_and_a_stronger_value_is_darker():
    levels = [contrast("#ffffff", PALETTE[f"heat {level}"][0]) for level in range(9)]
    assert levels == sorted(levels) and levels[-1] > 2 * levels[0]
    assert MARGIN * 340 / WIDTH > 8


def test_fills_that_stand_side_by_side_differ_in_grey():
    for one, other in (("sky", "orange"), ("plain", "orange"), ("sky", "green"), ("card", "sky"), ("plain", "green")):
        assert contrast(PALETTE[one][0], PALETTE[other][0]) >= 1.2, (one, other)


class TestNumbers:
    def test_attention(self):
        q, k = torch.tensor([[0.3, -1.0]]), torch.tensor([[1.0, 0.5], [-0.2, 0.4]])
        v = torch.tensor([[0.5, 1.0], [2.0, -1.0]])
        canvas = draw("one_query", words=["a", "b"], query=q[0].tolist(), keys=k.tolist(), values=v.tolist())
        expected = F.scaled_dot_product_attention(q, k, v)[0]
        weights = (q @ k.T / 2**0.5).softmax(-1)[0]
        assert shows(canvas, *(f"{w:.2f}" for w in weights))
        assert shows(canvas, "(" + ", ".join(f"{x:.2f}".replace("-", "−") for x in expected) + ")")

    def test_softmax_and_sampling_filters(self):
        logits = torch.tensor([0.5, 2.0, -1.0, 1.0, 0.0])
        canvas = draw("sampling_filters", logits=logits.tolist(), temperature=0.7, top_k=3, top_p=0.5)
        p = logits.softmax(0)
        top = torch.where(p >= p.topk(3).values[-1], logits, -torch.inf).softmax(0)
        wanted = [*p, *(logits / 0.7).softmax(0), *top[top > 0], 1.0]  # "0.5": the first token alone has 0.54
        shown = [text.text for text in canvas.texts if re.fullmatch(r"\d\.\d\d", text.text)]
        assert float(p.max()) > 0.5 and shown == [f"{float(x):.2f}" for x in wanted]

    def test_lora_merge(self):
        w, b, a = torch.arange(9.0).view(3, 3), torch.tensor([1.0, -2.0, 0.0]), torch.tensor([3.0, 0.0, 1.0])
        canvas = draw("lora_merge", weight=w.tolist(), b=b.tolist(), a=a.tolist(), scale=2.0)
        shown = [text.text for text in canvas.texts]
        merged = (w + 2 * torch.outer(b, a)).flatten().tolist()
        assert shown[shown.index("merged") - 9 : shown.index("merged")] == [f"{x:g}".replace("-", "−") for x in merged]

    def test_norms(self):
        x = torch.tensor([2.0, -1.0, 0.5])
        for y in (F.layer_norm(x, (3,), eps=0), F.rms_norm(x, (3,), eps=0)):
            assert shows(draw("layer_rms_norm", x=x.tolist()), *(f"{v:.2f}".replace("-", "−") for v in y))

    def test_losses_of_alignment(self):
        torch_dpo = -F.logsigmoid(torch.tensor(0.3 * ((-1.0 + 2.0) - (-3.0 + 2.5))))
        assert shows(draw("dpo_loss", policy=(-1.0, -3.0), reference=(-2.0, -2.5), beta=0.3), f"= {torch_dpo:.3f}")
        assert shows(draw("reward_model", chosen=0.5, rejected=1.5), f"= {F.softplus(torch.tensor(1.0)):.3f}")
        assert shows(draw("bradley_terry", votes=(3, 1)), f"= {math.log(3):.3f}")

    def test_advantages_are_those_of_the_library(self):
        from minillm.training import gae, group_advantages

        canvas = draw("grpo_group", rewards=(1.0, 0.5, 0.0, 0.0))
        assert shows(
            canvas, *(f"{a:.2f}".replace("-", "−") for a in group_advantages(torch.tensor([[1, 0.5, 0, 0]]))[0])
        )
        canvas = draw("reward_to_tokens", words=("a", "b"), kl=(0.2, 0.4), reward=1.0, values=(0.3, 0.6), beta=0.5)
        rewards, values = torch.tensor([[-0.1, 0.8]]), torch.tensor([[0.3, 0.6]])
        expected = gae(rewards, values, torch.ones(1, 2), 1.0, 0.95)[0][0]
        assert shows(canvas, *(f"{a:.2f}".replace("-", "−") for a in expected))

    def test_overlaps_are_those_of_the_metrics(self):
        said, right = "the fox ate the red soup in the mill", "the fox ate a red soup in the old mill"
        assert shows(draw("bleu_ngrams", candidate=said, reference=right), f"{bleu([said], [right]).score / 100:.3f}")
        f1 = rouge_l(right, said).f1
        assert shows(draw("longest_common_subsequence", candidate=said, reference=right), f"F1 {f1:.2f}")
        f1 = rouge_n(right, said, 1).f1
        assert shows(draw("ngram_overlap", candidate=said, reference=right), f"= {f1:.2f}")

    def test_losses_of_texts(self):
        assert shows(
            draw("sentence_probability", words="ab", chances=(0.5, 0.125)),
            "P(text) = 0.0625",
            f"{math.log(4):.3f}",
            "4.00",
        )
        canvas = draw("ladder_to_the_floor", sentences=["a b", "a b", "a c", "a c"], floor=0.5)
        assert shows(canvas, f"{math.log(3):.2f}", f"{math.log(2):.2f}", "floor 0.50")
        assert shows(draw("bigram_table", sentences=["a b", "a b", "a c"]), "b 2/3, c 1/3")

    def test_contrast_and_masked_rows(self):
        similarity = torch.tensor([[0.5, 0.1], [0.2, 0.9]])
        loss = F.cross_entropy(similarity / 0.1, torch.arange(2))
        assert shows(draw("in_batch_negatives", similarity=similarity.tolist(), temperature=0.1), f"= {loss:.3f}")
        logits = torch.tensor([[0.0, 2.0, 0.0]])
        canvas = draw("prediction_matrix", words=["a", "b"], hidden=[1], vocabulary=["a", "b", "c"])
        assert shows(canvas, f"= {F.cross_entropy(logits, torch.tensor([1])):.3f}")

    def test_quantized(self):
        canvas = draw("quantized_block", values=(1.27, -0.635, 0.01), bits=8)
        assert shows(canvas, "127", "−64", "scale = largest / 127 = 0.0100")

    def test_the_best_size_has_the_lowest_loss(self):
        from minillm.report.diagrams.speed import LAW, chinchilla

        alt = draw("compute_optimal", computes=(1e20,)).alt
        best = float(re.search(r"flop: (\S+) weights", alt)[1])
        loss = [sum(chinchilla(n, 1e20 / 6 / n, LAW)) for n in (0.9 * best, best, 1.1 * best)]
        assert loss[1] == min(loss)

    def test_bits_of_formats(self):
        alt = CANVASES["number_formats"].alt
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            assert f"{torch.finfo(dtype).max:.3g}" in alt

    def test_counts_of_numbers_that_learn(self):
        from minillm.models import Decoder, ModelConfig
        from minillm.report.diagrams.peft import peft_counts

        counts = peft_counts(layers=2, width=16, inner=32, vocabulary=40, rank=2, places=3)
        model = Decoder(ModelConfig(40, 8, layers=2, width=16, heads=2))
        matrices = [p for p in model.parameters() if p.dim() == 2]
        assert counts["full tuning"] == sum(p.numel() for p in matrices)
        inside = [p for p in matrices if 40 not in p.shape]
        assert counts["LoRA"] == sum(2 * sum(p.shape) for p in inside)

    def test_schedules_and_batches(self):
        assert shows(
            draw("gradient_accumulation", losses=(4, 1, 1, 2, 3, 1), micro=3),
            "mean 2",
            "(4 + 1 + 1) / 6 = 1",
            "added: 2",
        )
        assert shows(draw("gradient_clipping", gradient=(6.0, 8.0), limit=5.0), "clipped: (3, 4)", "scale 5 / 10 = 0.5")
        assert shows(draw("pass_at_k", chance=0.5, ks=(1, 3)), "0.500", "0.875")
        assert shows(draw("best_of_n", scores=(0.0, 1.0)), f"{math.log(2) - 0.5:.3f}")

    def test_byte_pairs_of_the_example(self):
        from minillm.report.diagrams.text import merges_of
        from minillm.text import train_bpe

        counts = {"low": 5, "lower": 2, "lowest": 3, "newest": 6, "widest": 3}
        ranks = train_bpe(["\n".join(word for word, n in counts.items() for _ in range(n))], 500)
        assert {"".join(pair).encode() for pair in merges_of("lowest", counts)} <= set(ranks)
