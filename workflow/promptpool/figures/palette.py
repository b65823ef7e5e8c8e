"""The colours, markers and names of things in figures and in the report, which draws none itself."""

# Okabe & Ito's palette without yellow, which is too pale for thin marks on white.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, GREY, FAINT = "#1a1a1a", "#6b6b6b", "#d9d9d9"
SERIES = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
SPAN_COLOURS = {
    "sink": GREY,
    "prefix": SKY,
    "content": ORANGE,
    "function": "#F5DCA0",  # also part of the text, so a paler shade
    "suffix": BLUE,
    "itself": PURPLE,
}
FLOOR_LINES = {"random": ":", "tfidf-svd": "--"}
FLOOR_NAMES = {"random": "random floor", "tfidf-svd": "TF-IDF + SVD"}
