"""Edit distance of two texts, given up as soon as it is larger than what is asked for.

Sources: Levenshtein 1966; one column of the table in a machine word, Myers 1999 in the form of Hyyro 2001. A
column here is one Python integer of any length, so that a letter costs about ten operations on integers.
"""


def edit_distance(left: str, right: str, most: int | None = None) -> int:
    """Letters that must be inserted, deleted or changed to make one text of the other.

    `edit_distance("abc", "abd")` is 1.

    Args:
        left: any text; letters are Unicode code points.
        right: the other.
        most: the largest distance of interest, at least 0; None: any.

    Returns:
        The distance, or `most + 1` if it is larger than `most`.
    """
    limit = max(len(left), len(right)) if most is None else most
    if left == right:
        return 0
    if len(left) > len(right):
        left, right = right, left
    if len(right) - len(left) > limit:
        return limit + 1
    start = 0
    while start < len(left) and left[start] == right[start]:
        start += 1
    end = 0
    while end < len(left) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    left, right = left[start : len(left) - end], right[start : len(right) - end]
    distance = len(left)
    if not distance:
        return min(len(right), limit + 1)
    places: dict[str, int] = {}
    for place, letter in enumerate(left):
        places[letter] = places.get(letter, 0) | 1 << place
    whole, last = (1 << distance) - 1, 1 << (distance - 1)
    rises, falls = whole, 0  # rows at which the column goes up or down by one
    for remaining, letter in zip(range(len(right) - 1, -1, -1), right, strict=True):
        equal = places.get(letter, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        up = falls | (whole & ~(diagonal | rises))
        down = rises & diagonal
        if up & last:
            distance += 1
        elif down & last:
            distance -= 1
        if distance - remaining > limit:  # each letter that is left makes it smaller by one at most
            return limit + 1
        up = (up << 1 | 1) & whole
        down = (down << 1) & whole
        rises = down | (whole & ~(diagonal | up))
        falls = up & diagonal
    return min(distance, limit + 1)
