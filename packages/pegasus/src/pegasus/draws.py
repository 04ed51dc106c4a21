"""The purposes of this package's random numbers: independent streams for one document (nonet.data.draws)."""

ORDER, RATIO, NOISE, TASK, GAP, GAP_SOURCE, WORD_ORDER, WORD, WORD_PIECE = range(9)
