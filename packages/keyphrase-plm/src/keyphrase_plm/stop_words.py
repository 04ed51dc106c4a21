"""Words that neither begin nor end a keyphrase: English function words, and those of an own file (ours).

Besides articles, pronouns, prepositions, conjunctions, auxiliaries and adverbs of degree, the list has verbs
and nouns that any abstract may hold (show, propose, use, result, paper), as candidates are found without a
tagger of parts of speech.
"""

from collections.abc import Iterable
from pathlib import Path

from nonet.errors import UserError

_FUNCTION = """
a about above across actually after again against ago all almost alone along already also although always am
among amongst an and another any anybody anyone anything anyway anywhere apart are aren't around as aside at
away be became because become becomes becoming been before beforehand behind being below beside besides best
better between beyond both but by came can can't cannot clearly come comes could couldn't currently despite
did didn't do does doesn't doing don't done down due during each easily eg e.g either else elsewhere enough
especially et etc even ever every everybody everyone everything everywhere ex except exactly fairly far few
fewer for former forth from full fully further furthermore gave generally get gets getting give given gives
giving go goes going gone got greatly had hadn't hardly has hasn't have haven't having he he's hello hence
her here hereby herein hers herself hi him himself his hither how however i i'd i'll i'm i've ie i.e if in
inc indeed inside insofar instead into inward is isn't it it's its itself just keep keeps kept know known
knows largely last lately later latter least less lest let let's like likely little look looking looks made
mainly make makes making many may maybe me mean means meanwhile merely might mine more moreover most mostly
much must my myself namely near nearly necessarily necessary need needed needs neither never nevertheless
next no nobody non none nonetheless nor not nothing notably now nowhere of off often ok okay old on once one
ones only onto or other others otherwise ought our ours ourselves out outside over overall own particular
particularly per perhaps please plus possible possibly presumably primarily probably quite rather really
recent recently regarding regardless regards relatively respectively same saw say saying says see seeing seem
seemed seeming seems seen self selves sent several shall she should shouldn't significantly similarly simply
since so some somebody somehow someone something sometimes somewhat somewhere soon still strongly
substantially such sufficiently sure take taken takes taking tell tends than thank thanks that that's the
their theirs them themselves then there there's thereby therefore therein these they they're thing things
this those though through throughout thus to together too took toward towards tried tries truly try trying
typically twice under unfortunately unless unlikely until unto up upon us usually various very via want
wanted wants was wasn't way ways we we'd we'll we're we've well went were weren't what whatever when whence
whenever where whereas whereby wherein wherever whether which while whither who whoever whole whom whose why
widely will with within without won't would wouldn't yes yet you you'd you'll you're you've your yours
yourself yourselves able according able two three four five six seven eight nine ten first second third
"""
_GENERAL = """
achieve achieved achieves achieving address addresses addressed addressing aim aims aimed allow allows allowed
allowing analyze analyzed analyzes analyse analyses appear appears apply applied applies applying approach
approaches available based called carry carried case cases certain combine combined combines combining compare
compared comparing compares comprise comprises compute computed computing consider considered considers
considering consist consists contain contains containing contribute contributes contributed corresponding
create created creates demonstrate demonstrated demonstrates demonstrating denoted depend depends derive
derived describe described describes describing design designed develop developed develops developing
difficult different discuss discussed discusses discover effective effectively efficient efficiently
eliminate employ employed employs enable enables enabled enabling ensure ensures ensuring establish
established evaluate evaluated evaluates evaluating example examples examine examined examines exhibit
exhibits exist existing exists experiment experiments explore explored explores exploring extend extended
extends extensive facilitate find findings finding finds focus focuses focused focusing follow followed
following follows found general generate generated generates good great handle help helps high higher highly
identify identified identifies identifying important improve improved improves improving include included
includes including increase increased increases increasing increasingly indicate indicates introduce
introduced introduces introducing investigate investigated investigates investigating involve involves
involving large larger lead leading leads led leverage leverages leveraging limited long low lower main major
method methods novel number obtain obtained obtains occur occurs offer offers outperform outperforms paper
papers perform performed performs popular present presented presenting presents previous previously prior
promising propose proposed proposes proposing prove proved proves provide provided provides providing
question questions reduce reduced reduces reducing rely relies remain remains report reported require
required requires requiring result resulting results reveal reveals set several show showed showing shown
shows significant similar simple small solve solving specific specifically standard state study studied
studies studying suffer suffers suggest suggests support supports tackle test tested think traditional
understand understood use used user users uses using useful utilize utilizes utilizing utilized variety work
worked working works wrong yield yields
"""
ENGLISH = frozenset((_FUNCTION + _GENERAL).split())
"""what `stop_words("en")` gives"""


def stop_words(language: str = "en", file: str | Path | None = None) -> frozenset[str]:
    """The stop words of a language, in lower case.

    Args:
        language: `en`; of another one the words have to be given.
        file: UTF-8 text with one word a line, instead of the list of the package.

    Raises:
        UserError: no list for the language and no file, or a file that cannot be read or has no words.
    """
    if file is not None:
        try:
            words = Path(file).read_text(encoding="utf-8").lower().split()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: cannot be read as a list of stop words: {error}") from None
        if not words:
            raise UserError(f"{file}: there are no stop words in it")
        return frozenset(words)
    if language != "en":
        raise UserError(f"there are no stop words for {language!r} here: give a file with one word a line")
    return ENGLISH


def chosen(words: Iterable[str] | None, language: str) -> frozenset[str]:
    """Given words in lower case, or else those of the language."""
    return stop_words(language) if words is None else frozenset(word.lower() for word in words)
