"""The letters of languages whose texts occur in encodings other than Unicode.

`detection` computes the probability of a character from them. The letters of each language stand in the order of their
frequency, the commonest first. ASCII letters are left out: they are the same in nearly every encoding.
"""

from __future__ import annotations

from dataclasses import dataclass

_KOREAN = (
    "이다는에의을가고하지로기한사리은스어도나자시대를인서일정아해그수부과원구전여장주제들었만보상있조마와면게공니우국신라소년미동"
    "성위경안생화오말진내물관유거적중할까러려요했것당된방세모무선연단없같분교체업발문비때음회계개명치산결야트식민드며또재으법학각"
    "실바외통속데호력간출건양행입저작습강타용르불달합집노차현심본월반데느절근천표영등두금감난더후크않준급남파레늘피길림증번살배토락"
    "품터포앞름래알온직점밀침던따잘힘처석운왕족손날청람권높녕능벽질복판편형임약론목설육념류평최먹별종돈갑녀쪽잡힌십존책독눈밤봄"
)

_SIMPLIFIED = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多"
    "经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性"
    "知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次"
    "度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建"
    "务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路"
    "记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运图星请需容父亲"
)

_TRADITIONAL = (
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方多"
    "經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日軍者意無力它與長把機十民第公此已工使情明性"
    "知全三又關點正業外將兩高間由問很最重並物手應戰向頭文體政美相見被利什二等產或新己制身果加西斯月話合回特代內信表化老給世位次"
    "度門任常先海通教兒原東聲提立及比員解水名真論處走義各入幾口認條平系氣題活爾更別打女變四神總何電數安少報才結反受目太量再感建"
    "務做接必場件計管期市直德資命山金指克許統區保至隊形社便空決治展馬科司五基眼書非則聽白卻界達光放強即像難且權思王象完設式色路"
    "記南品住告類求據程北邊死張該交規萬取拉格望覺術領共確傳師觀清今切院讓識候帶導爭運圖星請需容父親裏啟臺灣"
)

_KANA = (
    "のにたいしとをはがてなるれでらりかもこっさんまくきうあよそえけだちつすおどせわみろめじばほげやむぐずふねひへびぶづごべざょゃゅ"
    "ンスルトリアイラクシレロードジカタマプテコサフニデバメパミキュャィォェウダグボワブモハチエナガケセツオヤビソベヒホノユヨネゴペギザ"
)
_KANJI = (
    "日一人大年本中国出会時行見月分後前生間上東社事今高手自場的者部同長金学方来気子話家内地名通市私小新目何言力水全体山動物思所書"
    "実度入合代当最回立世下作取用主業女校先定不関多対化意発現員理明法第性表強教文野開心持車考民聞電食語円使道店図館曜天朝早父必要"
)


@dataclass(frozen=True, slots=True)
class Script:
    """A language with the encodings that its texts occur in.

    `letters` are in the order of their frequency. `rate` is the share of letters outside ASCII among all letters of a
    text; it is 1 for scripts other than the Latin one, so that English words in such a text do not make it less likely.
    `rest` are all other characters that writers of the language use (as between the brackets of a regular expression);
    together they have the share `rest_share`. `words` are common words of ASCII letters, and `rare` are ASCII letters
    that hardly occur: both distinguish languages of the Latin alphabet.
    """

    name: str
    encodings: tuple[str, ...]
    letters: str
    rate: float = 1.0
    rest: str = ""
    rest_share: float = 0.0
    words: frozenset[str] = frozenset()
    rare: str = ""


_LATIN = r"À-ÖØ-öø-\u024f"


def _latin(name: str, encodings: str, letters: str, rate: float, words: str, rare: str) -> Script:
    # Foreign names occur in every language, so any letter of the Latin alphabet may occur.
    return Script(name, tuple(encodings.split()), letters, rate, _LATIN, 0.005, frozenset(words.split()), rare)


_WESTERN = "cp1252 iso8859_15 mac_roman cp850"
_CENTRAL = "cp1250 iso8859_2"
_VOWEL_MARKS = r"\u064b-\u0652\u0640\u200c،؛؟"
_CYRILLIC = "cp1251 koi8_r koi8_u cp866 iso8859_5 mac_cyrillic"

SCRIPTS = (
    Script("Korean", ("cp949",), _KOREAN, rest=r"\uac00-\ud7a3", rest_share=0.1),
    Script("Japanese", ("shift_jis", "euc_jp"), _KANA + _KANJI, rest=r"\u4e00-\u9fff々ヴぁぃぅぇぉゎ", rest_share=0.15),
    Script("Chinese, simplified", ("gb18030",), _SIMPLIFIED, rest=r"\u4e00-\u9fff", rest_share=0.25),
    Script("Chinese, traditional", ("big5", "gb18030"), _TRADITIONAL, rest=r"\u4e00-\u9fff", rest_share=0.25),
    _latin(
        "English",
        "cp1252 iso8859_15 mac_roman",
        "éèïêçñöüáâàóíëäôåøæœßãõúî",
        0.002,
        "the of and to in is it that was for on with as at by he she we you this are from or not his her they "
        "have had said who",
        "",
    ),
    _latin(
        "French",
        _WESTERN,
        "éèàêçôùâîœûïëæüÿ",
        0.035,
        "la le les de des du un une est et que qui dans pour pas sur ce il elle au avec ne se nous vous mais "
        "par sont en son sa fait tout bien comme cette ces aux plus",
        "kw",
    ),
    _latin(
        "German",
        _WESTERN,
        "üäößéà",
        0.02,
        "der die das und ist ein eine in den dem von zu mit nicht sich auf es war wir ich sie er aber auch "
        "nach bei wie aus des im",
        "qxy",
    ),
    _latin(
        "Spanish",
        _WESTERN,
        "óíáéñúüªº",
        0.025,
        "el la los las de del que en un una por con para se no es su al lo como pero sus muy todos sin son hay fue hace",
        "kw",
    ),
    _latin(
        "Portuguese",
        _WESTERN,
        "ãçáéíóêõâàúôªº",
        0.04,
        "os as de da do das dos que em um uma por com para se no na ao mas como foi ele ela seu sua mais sem "
        "ou disse pela hoje muito eu seus era quando",
        "kwy",
    ),
    _latin(
        "Italian",
        _WESTERN,
        "èàùòìéî",
        0.015,
        "il la le gli di del della che in un una per con non si sono da al ma come anche nel lo era questo "
        "alla dei dal ha",
        "jkwxy",
    ),
    _latin(
        "Dutch",
        _WESTERN,
        "ëéïöóèüê",
        0.003,
        "de het een van en in is dat op te zijn met voor niet aan er om ook als maar bij of uit nog door over was ik je",
        "qxy",
    ),
    _latin(
        "Swedish and Finnish",
        _WESTERN,
        "äåöé",
        0.045,
        "och att det som en ett av med den till inte om men var har jag hon han vi ja ei se on oli mutta kun "
        "niin alla far min mitt oss sade efter denna",
        "qwxz",
    ),
    _latin(
        "Danish and Norwegian",
        _WESTERN,
        "åøæéòôö",
        0.035,
        "og at det som en et af med den til ikke om men var har jeg hun han vi de ble blev fra av er skal kan ved for",
        "cqwxz",
    ),
    _latin(
        "Icelandic",
        _WESTERN,
        "íáðóéþöúæý",
        0.12,
        "og er en um hann var ekki sem til af fyrir hefur eru vera hafa sig ef kom eins hans hennar",
        "cqwz",
    ),
    _latin(
        "Catalan",
        _WESTERN,
        "àéóèçíòïúü·",
        0.03,
        "el la els les de del que en un una per amb no es al com tot molt va han seva seu dels qui als hi ho ens",
        "kwy",
    ),
    _latin(
        "Polish",
        _CENTRAL,
        "łęąóżśćńź",
        0.07,
        "nie to na do jest co tak jak ale za po od czy dla tym ten ta tego przy nad bardzo mnie sobie byli "
        "ich przez ku oraz jego nas dzisiaj ze",
        "qvx",
    ),
    _latin(
        "Czech",
        _CENTRAL,
        "íáéěýřčžšůúťňďó",
        0.15,
        "je na se to do za ale jak po od co by tak ten ta jsem si pro ve ze jeho nebo jsme byl bylo podle jsou dnes",
        "gqwx",
    ),
    _latin(
        "Slovak",
        _CENTRAL,
        "áíčýžéšľúťôňĺŕďäó",
        0.13,
        "je na sa to do za ale ako po od by tak ten ta som si pre vo zo jeho alebo sme bol bolo podla dnes aj ich",
        "gqwx",
    ),
    _latin(
        "Hungarian",
        _CENTRAL,
        "áéöóőüíúű",
        0.12,
        "az egy nem hogy is ez meg de ha mint csak van volt el ki fel le mert vagy majd sem minden ezt azt "
        "nagyon mondta",
        "qwx",
    ),
    _latin(
        "Romanian",
        _CENTRAL,
        "ăîâşţ",
        0.07,
        "de la cu pe un nu se din ce mai este care sunt sau dar ca lui prin pentru fost despre acest doar toate pot ale",
        "kqwy",
    ),
    _latin(
        "Croatian and Slovene",
        _CENTRAL,
        "čšžćđ",
        0.03,
        "je na se da su od za sam ali kao iz po bi biti to ne ili koji samo in tudi pa bil kot pri bilo ki sem ni",
        "qwxy",
    ),
    _latin(
        "Turkish",
        "cp1254",
        "ıüşğçöâî",
        0.11,
        "ve bir bu da de ne mi daha ama olarak gibi olan kadar en sonra ben sen her var yok ise iki yeni biri "
        "dedi onu diye",
        "jqwx",
    ),
    _latin(
        "Lithuanian",
        "cp1257 iso8859_4",
        "ėšžųįąūčę",
        0.07,
        "ir kad su yra tai buvo bet jo ne kaip apie nuo dar per iki po ar tik jos taip labai bus kas mano visi reikia",
        "hqwxf",
    ),
    _latin(
        "Latvian",
        "cp1257 iso8859_4",
        "āīēūšņļģžčķ",
        0.10,
        "un ir ar no uz par ka bija bet kas ne vai tas to pie lai tika tikai pat kad viss tad tie labi mana",
        "hqwxy",
    ),
    _latin(
        "Estonian",
        "cp1257 iso8859_4",
        "äõüöšž",
        0.05,
        "ja on ei et see ka oli aga mis ta kui ma nii oma siis ning sest veel kes pole seda sellest olid",
        "cqwxyzf",
    ),
    Script("Russian", tuple(_CYRILLIC.split()), "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё"),
    Script("Ukrainian", ("cp1251", "koi8_u"), "оанивітреслкдпумязьбгчйхжюцїшщєфґ"),
    Script("Belarusian", ("cp1251",), "аінеорсытклудвпямьзгбйчўжхшёцюэф"),
    Script("Bulgarian", ("cp1251",), "аеиотнрсвлкдпмзбъгучцйжщшхяюфь"),
    Script("Serbian", ("cp1251",), "аоеинрстјувдклпмбзгчшцжхљњћфђџ"),
    Script("Greek", ("cp1253", "iso8859_7"), "αοιετσνρκπυηςλίμόάγέδήύθχώφωβξζψϊϋΐΰ"),
    Script("Hebrew", ("cp1255",), "יוהלארתבשמנםדכחקעפןצגזטסךףץ", rest=r"\u05b0-\u05c3", rest_share=0.05),
    Script("Arabic", ("cp1256",), "اليمونترةبعدسفهكحقأجشىصذضخطإئزءغثؤظآ", rest=_VOWEL_MARKS, rest_share=0.04),
    Script("Persian", ("cp1256",), "ایرندموتهبسشکزگفخقپعجحذضصژچطثظآغيك", rest=_VOWEL_MARKS, rest_share=0.04),
    Script("Thai", ("cp874",), "านรกเ่องมยลวด้ัิทสตะปีบค์หแจุพชูขใไื็ผโณศำซถธภึฟษญฎฐฑฒฉฌฆฮๆฯ๊๋", rest=r"๐-๙", rest_share=0.005),
)
"""All scripts with their possible encodings. To add a language, add an entry here."""
