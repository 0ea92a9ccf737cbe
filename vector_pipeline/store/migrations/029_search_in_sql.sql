-- Search in SQL: phrases in quotes match in order, frequent words cost a fraction, and results are exact.

SELECT '[1]'::{vector}.vector;  -- loads pgvector, so that a role without further rights may name its settings

-- A regular expression for a case-folded word in any case. Letters that fold into several ones, other than the sharp s,
-- match only themselves: lexical_folded leaves them as they are. Of four s and more, not every pair may be a sharp s.
CREATE FUNCTION {schema}.lexical_any_case(word text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $function$
    SELECT string_agg(CASE
            WHEN u.letter = E'\x01' THEN '(?:[sS][sS][sS]|[ßẞ][sS]|[sS][ßẞ])'
            WHEN u.letter = E'\x02' THEN '(?:[sS][sS]|[ßẞ])'
            WHEN u.letter ~ '^[a-z]$' THEN '[' || u.letter || upper(u.letter COLLATE "C") || ']'
            WHEN others.letters IS NOT NULL THEN '[' || u.letter || others.letters || ']'
            ELSE u.letter END, '' ORDER BY u.place)
    FROM unnest(string_to_array(replace(replace(word, 'sss', E'\x01'), 'ss', E'\x02'), NULL))
        WITH ORDINALITY AS u (letter, place)
    LEFT JOIN (
        SELECT l.folded, string_agg(l.letter, '') AS letters
        FROM unnest(
            string_to_array('ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮĴĶĹĻĽŁŃŅŇŊŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽƁƂƄƆƇƉƊƋƎƏƐƑƓƔƖƗƘƜƝƟƠƢƤƦƧƩƬƮƯƱƲƳƵƷƸƼǍǏǑǓǕǗǙǛǞǠǢǤǦǨǪǬǮǴǶǷǸǺǼǾȀȂȄȆȈȊȌȎȐȒȔȖȘȚȜȞȠȢȤȦȨȪȬȮȰȲȺȻȽȾɁɃɄɅɆɈɊɌɎͅͰͲͶͿΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫςϏϘϚϜϞϠϢϤϦϨϪϬϮϷϺϽϾϿЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯѠѢѤѦѨѪѬѮѰѲѴѶѸѺѼѾҀҊҌҎҐҒҔҖҘҚҜҞҠҢҤҦҨҪҬҮҰҲҴҶҸҺҼҾӀӁӃӅӇӉӋӍӐӒӔӖӘӚӜӞӠӢӤӦӨӪӬӮӰӲӴӶӸӺӼӾԀԂԄԆԈԊԌԎԐԒԔԖԘԚԜԞԠԢԤԦԨԪԬԮԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖႠႡႢႣႤႥႦႧႨႩႪႫႬႭႮႯႰႱႲႳႴႵႶႷႸႹႺႻႼႽႾႿჀჁჂჃჄჅჇჍᏸᏹᏺᏻᏼᏽᲀᲁᲂᲃᲄᲅᲆᲇᲈᲐᲑᲒᲓᲔᲕᲖᲗᲘᲙᲚᲛᲜᲝᲞᲟᲠᲡᲢᲣᲤᲥᲦᲧᲨᲩᲪᲫᲬᲭᲮᲯᲰᲱᲲᲳᲴᲵᲶᲷᲸᲹᲺᲽᲾᲿḀḂḄḆḈḊḌḎḐḒḔḖḘḚḜḞḠḢḤḦḨḪḬḮḰḲḴḶḸḺḼḾṀṂṄṆṈṊṌṎṐṒṔṖṘṚṜṞṠṢṤṦṨṪṬṮṰṲṴṶṸṺṼṾẀẂẄẆẈẊẌẎẐẒẔẠẢẤẦẨẪẬẮẰẲẴẶẸẺẼẾỀỂỄỆỈỊỌỎỐỒỔỖỘỚỜỞỠỢỤỦỨỪỬỮỰỲỴỶỸỺỼỾἈἉἊἋἌἍἎἏἘἙἚἛἜἝἨἩἪἫἬἭἮἯἸἹἺἻἼἽἾἿὈὉὊὋὌὍὙὛὝὟὨὩὪὫὬὭὮὯᾸᾹᾺῈῊῘῙῚῨῩῪῬῸῺℲↃⰀⰁⰂⰃⰄⰅⰆⰇⰈⰉⰊⰋⰌⰍⰎⰏⰐⰑⰒⰓⰔⰕⰖⰗⰘⰙⰚⰛⰜⰝⰞⰟⰠⰡⰢⰣⰤⰥⰦⰧⰨⰩⰪⰫⰬⰭⰮⰯⱠⱢⱣⱤⱧⱩⱫⱭⱮⱯⱰⱲⱵⱾⱿⲀⲂⲄⲆⲈⲊⲌⲎⲐⲒⲔⲖⲘⲚⲜⲞⲠⲢⲤⲦⲨⲪⲬⲮⲰⲲⲴⲶⲸⲺⲼⲾⳀⳂⳄⳆⳈⳊⳌⳎⳐⳒⳔⳖⳘⳚⳜⳞⳠⳢⳫⳭⳲꙀꙂꙄꙆꙈꙊꙌꙎꙐꙒꙔꙖꙘꙚꙜꙞꙠꙢꙤꙦꙨꙪꙬꚀꚂꚄꚆꚈꚊꚌꚎꚐꚒꚔꚖꚘꚚꜢꜤꜦꜨꜪꜬꜮꜲꜴꜶꜸꜺꜼꜾꝀꝂꝄꝆꝈꝊꝌꝎꝐꝒꝔꝖꝘꝚꝜꝞꝠꝢꝤꝦꝨꝪꝬꝮꝹꝻꝽꝾꞀꞂꞄꞆꞋꞍꞐꞒꞖꞘꞚꞜꞞꞠꞢꞤꞦꞨꞪꞫꞬꞭꞮꞰꞱꞲꞳꞴꞶꞸꞺꞼꞾꟀꟂꟄꟅꟆꟇꟉꟐꟖꟘꟵꭰꭱꭲꭳꭴꭵꭶꭷꭸꭹꭺꭻꭼꭽꭾꭿꮀꮁꮂꮃꮄꮅꮆꮇꮈꮉꮊꮋꮌꮍꮎꮏꮐꮑꮒꮓꮔꮕꮖꮗꮘꮙꮚꮛꮜꮝꮞꮟꮠꮡꮢꮣꮤꮥꮦꮧꮨꮩꮪꮫꮬꮭꮮꮯꮰꮱꮲꮳꮴꮵꮶꮷꮸꮹꮺꮻꮼꮽꮾꮿ𐐀𐐁𐐂𐐃𐐄𐐅𐐆𐐇𐐈𐐉𐐊𐐋𐐌𐐍𐐎𐐏𐐐𐐑𐐒𐐓𐐔𐐕𐐖𐐗𐐘𐐙𐐚𐐛𐐜𐐝𐐞𐐟𐐠𐐡𐐢𐐣𐐤𐐥𐐦𐐧𐒰𐒱𐒲𐒳𐒴𐒵𐒶𐒷𐒸𐒹𐒺𐒻𐒼𐒽𐒾𐒿𐓀𐓁𐓂𐓃𐓄𐓅𐓆𐓇𐓈𐓉𐓊𐓋𐓌𐓍𐓎𐓏𐓐𐓑𐓒𐓓𐕰𐕱𐕲𐕳𐕴𐕵𐕶𐕷𐕸𐕹𐕺𐕼𐕽𐕾𐕿𐖀𐖁𐖂𐖃𐖄𐖅𐖆𐖇𐖈𐖉𐖊𐖌𐖍𐖎𐖏𐖐𐖑𐖒𐖔𐖕𐲀𐲁𐲂𐲃𐲄𐲅𐲆𐲇𐲈𐲉𐲊𐲋𐲌𐲍𐲎𐲏𐲐𐲑𐲒𐲓𐲔𐲕𐲖𐲗𐲘𐲙𐲚𐲛𐲜𐲝𐲞𐲟𐲠𐲡𐲢𐲣𐲤𐲥𐲦𐲧𐲨𐲩𐲪𐲫𐲬𐲭𐲮𐲯𐲰𐲱𐲲𑢠𑢡𑢢𑢣𑢤𑢥𑢦𑢧𑢨𑢩𑢪𑢫𑢬𑢭𑢮𑢯𑢰𑢱𑢲𑢳𑢴𑢵𑢶𑢷𑢸𑢹𑢺𑢻𑢼𑢽𑢾𑢿𖹀𖹁𖹂𖹃𖹄𖹅𖹆𖹇𖹈𖹉𖹊𖹋𖹌𖹍𖹎𖹏𖹐𖹑𖹒𖹓𖹔𖹕𖹖𖹗𖹘𖹙𖹚𖹛𖹜𖹝𖹞𖹟𞤀𞤁𞤂𞤃𞤄𞤅𞤆𞤇𞤈𞤉𞤊𞤋𞤌𞤍𞤎𞤏𞤐𞤑𞤒𞤓𞤔𞤕𞤖𞤗𞤘𞤙𞤚𞤛𞤜𞤝𞤞𞤟𞤠𞤡', NULL),
            string_to_array('àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįĵķĺļľłńņňŋōŏőœŕŗřśŝşšţťŧũūŭůűųŵŷÿźżžɓƃƅɔƈɖɗƌǝəɛƒɠɣɩɨƙɯɲɵơƣƥʀƨʃƭʈưʊʋƴƶʒƹƽǎǐǒǔǖǘǚǜǟǡǣǥǧǩǫǭǯǵƕƿǹǻǽǿȁȃȅȇȉȋȍȏȑȓȕȗșțȝȟƞȣȥȧȩȫȭȯȱȳⱥȼƚⱦɂƀʉʌɇɉɋɍɏιͱͳͷϳάέήίόύώαβγδεζηθικλμνξοπρστυφχψωϊϋσϗϙϛϝϟϡϣϥϧϩϫϭϯϸϻͻͼͽѐёђѓєѕіїјљњћќѝўџабвгдежзийклмнопрстуфхцчшщъыьэюяѡѣѥѧѩѫѭѯѱѳѵѷѹѻѽѿҁҋҍҏґғҕҗҙқҝҟҡңҥҧҩҫҭүұҳҵҷҹһҽҿӏӂӄӆӈӊӌӎӑӓӕӗәӛӝӟӡӣӥӧөӫӭӯӱӳӵӷӹӻӽӿԁԃԅԇԉԋԍԏԑԓԕԗԙԛԝԟԡԣԥԧԩԫԭԯաբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆⴀⴁⴂⴃⴄⴅⴆⴇⴈⴉⴊⴋⴌⴍⴎⴏⴐⴑⴒⴓⴔⴕⴖⴗⴘⴙⴚⴛⴜⴝⴞⴟⴠⴡⴢⴣⴤⴥⴧⴭᏰᏱᏲᏳᏴᏵвдосттъѣꙋაბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰჱჲჳჴჵჶჷჸჹჺჽჾჿḁḃḅḇḉḋḍḏḑḓḕḗḙḛḝḟḡḣḥḧḩḫḭḯḱḳḵḷḹḻḽḿṁṃṅṇṉṋṍṏṑṓṕṗṙṛṝṟṡṣṥṧṩṫṭṯṱṳṵṷṹṻṽṿẁẃẅẇẉẋẍẏẑẓẕạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹỻỽỿἀἁἂἃἄἅἆἇἐἑἒἓἔἕἠἡἢἣἤἥἦἧἰἱἲἳἴἵἶἷὀὁὂὃὄὅὑὓὕὗὠὡὢὣὤὥὦὧᾰᾱὰὲὴῐῑὶῠῡὺῥὸὼⅎↄⰰⰱⰲⰳⰴⰵⰶⰷⰸⰹⰺⰻⰼⰽⰾⰿⱀⱁⱂⱃⱄⱅⱆⱇⱈⱉⱊⱋⱌⱍⱎⱏⱐⱑⱒⱓⱔⱕⱖⱗⱘⱙⱚⱛⱜⱝⱞⱟⱡɫᵽɽⱨⱪⱬɑɱɐɒⱳⱶȿɀⲁⲃⲅⲇⲉⲋⲍⲏⲑⲓⲕⲗⲙⲛⲝⲟⲡⲣⲥⲧⲩⲫⲭⲯⲱⲳⲵⲷⲹⲻⲽⲿⳁⳃⳅⳇⳉⳋⳍⳏⳑⳓⳕⳗⳙⳛⳝⳟⳡⳣⳬⳮⳳꙁꙃꙅꙇꙉꙋꙍꙏꙑꙓꙕꙗꙙꙛꙝꙟꙡꙣꙥꙧꙩꙫꙭꚁꚃꚅꚇꚉꚋꚍꚏꚑꚓꚕꚗꚙꚛꜣꜥꜧꜩꜫꜭꜯꜳꜵꜷꜹꜻꜽꜿꝁꝃꝅꝇꝉꝋꝍꝏꝑꝓꝕꝗꝙꝛꝝꝟꝡꝣꝥꝧꝩꝫꝭꝯꝺꝼᵹꝿꞁꞃꞅꞇꞌɥꞑꞓꞗꞙꞛꞝꞟꞡꞣꞥꞧꞩɦɜɡɬɪʞʇʝꭓꞵꞷꞹꞻꞽꞿꟁꟃꞔʂᶎꟈꟊꟑꟗꟙꟶᎠᎡᎢᎣᎤᎥᎦᎧᎨᎩᎪᎫᎬᎭᎮᎯᎰᎱᎲᎳᎴᎵᎶᎷᎸᎹᎺᎻᎼᎽᎾᎿᏀᏁᏂᏃᏄᏅᏆᏇᏈᏉᏊᏋᏌᏍᏎᏏᏐᏑᏒᏓᏔᏕᏖᏗᏘᏙᏚᏛᏜᏝᏞᏟᏠᏡᏢᏣᏤᏥᏦᏧᏨᏩᏪᏫᏬᏭᏮᏯ𐐨𐐩𐐪𐐫𐐬𐐭𐐮𐐯𐐰𐐱𐐲𐐳𐐴𐐵𐐶𐐷𐐸𐐹𐐺𐐻𐐼𐐽𐐾𐐿𐑀𐑁𐑂𐑃𐑄𐑅𐑆𐑇𐑈𐑉𐑊𐑋𐑌𐑍𐑎𐑏𐓘𐓙𐓚𐓛𐓜𐓝𐓞𐓟𐓠𐓡𐓢𐓣𐓤𐓥𐓦𐓧𐓨𐓩𐓪𐓫𐓬𐓭𐓮𐓯𐓰𐓱𐓲𐓳𐓴𐓵𐓶𐓷𐓸𐓹𐓺𐓻𐖗𐖘𐖙𐖚𐖛𐖜𐖝𐖞𐖟𐖠𐖡𐖣𐖤𐖥𐖦𐖧𐖨𐖩𐖪𐖫𐖬𐖭𐖮𐖯𐖰𐖱𐖳𐖴𐖵𐖶𐖷𐖸𐖹𐖻𐖼𐳀𐳁𐳂𐳃𐳄𐳅𐳆𐳇𐳈𐳉𐳊𐳋𐳌𐳍𐳎𐳏𐳐𐳑𐳒𐳓𐳔𐳕𐳖𐳗𐳘𐳙𐳚𐳛𐳜𐳝𐳞𐳟𐳠𐳡𐳢𐳣𐳤𐳥𐳦𐳧𐳨𐳩𐳪𐳫𐳬𐳭𐳮𐳯𐳰𐳱𐳲𑣀𑣁𑣂𑣃𑣄𑣅𑣆𑣇𑣈𑣉𑣊𑣋𑣌𑣍𑣎𑣏𑣐𑣑𑣒𑣓𑣔𑣕𑣖𑣗𑣘𑣙𑣚𑣛𑣜𑣝𑣞𑣟𖹠𖹡𖹢𖹣𖹤𖹥𖹦𖹧𖹨𖹩𖹪𖹫𖹬𖹭𖹮𖹯𖹰𖹱𖹲𖹳𖹴𖹵𖹶𖹷𖹸𖹹𖹺𖹻𖹼𖹽𖹾𖹿𞤢𞤣𞤤𞤥𞤦𞤧𞤨𞤩𞤪𞤫𞤬𞤭𞤮𞤯𞤰𞤱𞤲𞤳𞤴𞤵𞤶𞤷𞤸𞤹𞤺𞤻𞤼𞤽𞤾𞤿𞥀𞥁𞥂𞥃', NULL)
        ) AS l (letter, folded) WHERE octet_length(word) > length(word) GROUP BY l.folded
    ) AS others ON others.folded = u.letter
$function$;

-- The phrases in quotes of a question: text/terms.py, `parse_query`. `pattern` is a regular expression that a text in
-- NFKC matches where `has_phrase` is true, and every such text has `terms` (`terms_of_phrase`).
CREATE FUNCTION {schema}.lexical_phrases(query text)
RETURNS TABLE (pattern text, terms text[])
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    bigrams constant text := '\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff';
    trigrams constant text := '\u0e01-\u0e3e\u0e40-\u0e4e\u0e50-\u0e59\u0e80-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17e0-\u17ff';
    separators constant text := '\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u02c2-\u02c5\u02d2-\u02df\u037e\u0387\u055a-\u055f\u0589\u058a\u05be\u05c0\u05c3\u05f3\u05f4\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u0e3f\u0e4f\u0e5a-\u0e5f\u104a-\u104f\u17d4-\u17df\u1680\u2000-\u2bff\u2e00-\u3004\u3008-\u3040\u3097-\u309c\u30a0\u30fb\u3130-\u318f\ue000-\uf8ff\ufe00-\ufe6f\uff00-\uffff\U0001d000-\U0001d3ff\U0001f000-\U0001fbff\U000e0000-\U0010ffff';
    signs constant text := '[' || separators || ']';
    edge constant text := '[' || separators || bigrams || trigrams || ']';
    phrase text;
    token text;
    folded text;
    size integer;      -- of the n-grams of a run; 1 for a word
    size_before integer;
BEGIN
    FOR phrase IN SELECT DISTINCT m[1] FROM regexp_matches(left(query, 4000), '"([^"]*)"', 'g') AS m LOOP
        pattern := '';
        terms := ARRAY[]::text[];
        size_before := NULL;
        FOR token IN
            SELECT m[1] FROM regexp_matches(normalize(phrase, NFKC),
                '([' || bigrams || ']+|[' || trigrams || ']+|[^' || separators || bigrams || trigrams || ']+)', 'g') AS m
        LOOP
            size := CASE WHEN token ~ ('^[' || bigrams || ']') THEN 2
                         WHEN token ~ ('^[' || trigrams || ']') THEN 3 ELSE 1 END;
            -- A word stands between signs or runs. A run may begin and end inside of a longer one.
            pattern := pattern || CASE
                WHEN size_before IS NULL THEN CASE WHEN size = 1 THEN '(?:^|' || edge || ')' ELSE '' END
                WHEN size_before = size THEN signs || '+' ELSE signs || '*' END;
            IF size = 1 THEN
                folded := {schema}.lexical_folded(token);
                pattern := pattern || {schema}.lexical_any_case(folded);
                terms := terms || CASE
                    WHEN folded ~ '^[a-z]{{4,24}}$' THEN {schema}.lexical_stem(folded) ELSE left(folded, 64) END;
            ELSE
                pattern := pattern || token;
                terms := terms || ARRAY(
                    SELECT substr(token, i, size) FROM generate_series(1, length(token) - size + 1) AS i);
            END IF;
            size_before := size;
        END LOOP;
        IF size_before = 1 THEN
            pattern := pattern || '(?:$|' || edge || ')';
        END IF;
        IF size_before IS NOT NULL THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$function$;

-- What is in the postings of a term; of a frequent one for some ordinals alone, if those are given. Entries are in the
-- order of generate_series, and so are their sums. Only the largest frequency of an entry goes on in the next ones.
CREATE OR REPLACE FUNCTION {schema}.lexical_decoded(postings bytea, lengths_ bytea, only_ integer[] DEFAULT NULL)
RETURNS TABLE (ordinal integer, frequency integer, length integer)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $function$
DECLARE
    -- Joined with nothing, they are read from the disk once and not for every byte.
    data bytea := postings || ''::bytea;
    lengths bytea := lengths_ || ''::bytea;
    form integer := get_byte(data, 0);
    most integer := (1 << 2 * form) - 1;
BEGIN
    IF form = 0 AND only_ IS NOT NULL THEN
        RETURN QUERY SELECT o, get_byte(data, 1 + o), get_byte(lengths, 2 * o) + 256 * get_byte(lengths, 2 * o + 1)
            FROM unnest(only_) AS o WHERE get_byte(data, 1 + o) > 0;
    ELSIF form = 0 THEN
        RETURN QUERY SELECT o, get_byte(data, 1 + o), get_byte(lengths, 2 * o) + 256 * get_byte(lengths, 2 * o + 1)
            FROM generate_series(0, octet_length(data) - 2) AS o WHERE get_byte(data, 1 + o) > 0;
    ELSIF form = 5 THEN
        RETURN QUERY SELECT p.o, get_byte(data, i), get_byte(lengths, 2 * p.o) + 256 * get_byte(lengths, 2 * p.o + 1)
            FROM generate_series(1, octet_length(data) - 1, 4) AS i CROSS JOIN LATERAL (SELECT
                get_byte(data, i + 1) + 256 * get_byte(data, i + 2) + 65536 * get_byte(data, i + 3)) AS p (o);
    ELSE
        RETURN QUERY
        WITH entries AS MATERIALIZED (
            SELECT v.gap, v.f, (sum(v.gap) OVER (ROWS UNBOUNDED PRECEDING))::integer AS o FROM (
                SELECT get_byte(data, i) >> 2 AS gap, get_byte(data, i) & 3 AS f
                FROM (SELECT generate_series(1, octet_length(data) - 1) AS i) AS g WHERE form = 1
                UNION ALL
                SELECT (get_byte(data, i) >> 4) + 16 * get_byte(data, i + 1), get_byte(data, i) & 15
                FROM (SELECT generate_series(1, octet_length(data) - 1, 2) AS i) AS g WHERE form = 2
                UNION ALL
                SELECT get_byte(data, i + 1) + 256 * get_byte(data, i + 2) + 65536 * get_byte(data, i + 3),
                    get_byte(data, i)
                FROM (SELECT generate_series(1, octet_length(data) - 1, 4) AS i) AS g WHERE form = 4) AS v
        )
        SELECT p.o, p.f, get_byte(lengths, 2 * p.o) + 256 * get_byte(lengths, 2 * p.o + 1) FROM (
            SELECT e.o, e.f FROM entries e WHERE e.gap > 0 AND e.f > 0 AND e.f < most
            UNION ALL
            SELECT e.o, sum(e.f)::integer FROM entries e WHERE e.gap = 0 OR e.f = most GROUP BY e.o) AS p (o, f);
    END IF;
END
$function$;

-- The texts that hold all of some terms.
CREATE FUNCTION {schema}.lexical_holding(terms_ text[])
RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan AS $function$
DECLARE
    stored record;
    segment_ integer;
    ordinals integer[];
BEGIN
    -- The term of a segment that is in the fewest texts comes first.
    FOR stored IN
        SELECT s.segment, s.postings, g.lengths FROM (
            SELECT s.*, count(*) OVER (PARTITION BY s.segment) AS terms FROM {schema}.lexical_stored(terms_) s) AS s
        JOIN {schema}.lexical_segments g USING (segment)
        WHERE s.terms = (SELECT count(DISTINCT t) FROM unnest(terms_) AS t)
        ORDER BY s.segment, s.texts
    LOOP
        IF stored.segment IS DISTINCT FROM segment_ THEN
            RETURN QUERY SELECT t.content_hash FROM unnest(ordinals) AS o
                JOIN {schema}.lexical_texts t ON t.segment = segment_ AND t.ordinal = o;
            segment_ := stored.segment;
            ordinals := ARRAY(SELECT p.ordinal FROM {schema}.lexical_decoded(stored.postings, stored.lengths) AS p);
        ELSE
            ordinals := ARRAY(SELECT p.ordinal
                              FROM {schema}.lexical_decoded(stored.postings, stored.lengths, ordinals) AS p
                              JOIN unnest(ordinals) AS o ON o = p.ordinal);
        END IF;
    END LOOP;
    RETURN QUERY SELECT t.content_hash FROM unnest(ordinals) AS o
        JOIN {schema}.lexical_texts t ON t.segment = segment_ AND t.ordinal = o;
    RETURN QUERY SELECT d.content_hash FROM {schema}.lexical_landing d WHERE d.terms ?& terms_;
END
$function$;

DROP FUNCTION {schema}.lexical_shares(text[], integer);

-- The shares of the best possible BM25 score that texts have for some terms: of the `enough` best texts and others, of
-- all that have just landed, and of `also`. All shares are exact. The idea is that of store/lexical/scoring.py:
--
-- Terms that are in few texts are summed text by text. The sum of the others, the frequent ones, is one expression over
-- their bytes: sum(w * f / (f + norm)) = W - norm * sum(w / (f + norm)), with W = sum(w). Only texts get it that can
-- still be among the best. Texts with frequent terms alone are looked at only if these can bring one among the best, and
-- sums of integers exclude most that cannot reach a score s: f / (f + norm) is concave in f, so by Jensen's inequality
-- sum(w * f) >= norm * W * s / (W - s).
CREATE FUNCTION {schema}.lexical_shares(terms_ text[], enough integer, also uuid[] DEFAULT ARRAY[]::uuid[])
RETURNS TABLE (content_hash uuid, share double precision)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan AS $function$
DECLARE
    sampled constant integer := 16;
    tiny constant float8 := 1e-9;  -- less than any score, and more than what rounding leaves of 0
    texts_ bigint;
    mean_ float8;
    norm_ float8;        -- the norm of a text is 0.3 + norm_ * length
    names text[];
    segments integer[];
    stored bytea[];
    weights jsonb;
    ideal float8;
    one record;
    ordinals integer[];  -- of texts with a term in few texts, with the scores that these terms give
    scores float8[];
    wanted integer[];    -- texts of `also`
    found integer[];     -- texts with all of their score
    totals float8[];
    more integer[];
    more_totals float8[];
    best float8[] := ARRAY[]::float8[];
    least_ float8 := 0;  -- a lower bound of the `enough` best scores
    rest float8;         -- W
    scored text;
    every text;
    conditions text;
BEGIN
    SELECT greatest(1, sum(t)), greatest(1, sum(l) / greatest(1, sum(t))) INTO texts_, mean_ FROM (
        SELECT sum(s.texts), sum(s.length) FROM {schema}.lexical_segments s
        UNION ALL SELECT count(*), sum(d.length) FROM {schema}.lexical_landing d) AS totals (t, l);
    WITH stored_ AS MATERIALIZED (SELECT s.* FROM {schema}.lexical_stored(terms_) s),
    held AS (
        SELECT t.term, coalesce((SELECT sum(s.texts) FROM stored_ s WHERE s.term = t.term), 0)
            + (SELECT count(*) FROM {schema}.lexical_landing d WHERE d.terms ? t.term) AS holding
        FROM unnest(terms_) AS t (term)
    ),
    weighed AS MATERIALIZED (
        SELECT h.term, ln(1 + (texts_ - least(h.holding, texts_) + 0.5) / (h.holding + 0.5)) AS weight FROM held h
    )
    SELECT array_agg(s.term), array_agg(s.segment), array_agg(s.postings),
           (SELECT jsonb_object_agg(w.term, w.weight) FROM weighed w), (SELECT sum(w.weight) FROM weighed w)
    INTO names, segments, stored, weights, ideal FROM stored_ s;
    IF ideal IS NULL THEN
        RETURN;
    END IF;
    norm_ := 0.9 / mean_;
    FOR one IN
        SELECT g.segment, g.texts, g.lengths || ''::bytea AS lengths,
            array_agg(s.postings) FILTER (WHERE NOT s.frequent) AS rare,
            array_agg(s.weight) FILTER (WHERE NOT s.frequent) AS rare_weights,
            array_agg(s.postings) FILTER (WHERE s.frequent) AS frequent,
            array_agg(s.weight) FILTER (WHERE s.frequent) AS frequent_weights
        FROM (SELECT u.segment, u.postings, (weights ->> u.term)::float8 AS weight, get_byte(u.postings, 0) = 0 AS frequent
              FROM unnest(names, segments, stored) AS u (term, segment, postings)) AS s
        JOIN {schema}.lexical_segments g USING (segment) GROUP BY g.segment ORDER BY g.texts DESC
    LOOP
        SELECT array_agg(r.ordinal), array_agg(r.score) INTO ordinals, scores FROM (
            SELECT p.ordinal, sum(u.weight * p.frequency / (p.frequency + 0.3::float8 + norm_ * p.length)) AS score
            FROM unnest(one.rare, one.rare_weights) AS u (postings, weight)
            CROSS JOIN LATERAL {schema}.lexical_decoded(u.postings, one.lengths) AS p GROUP BY p.ordinal) AS r;
        wanted := ARRAY(SELECT t.ordinal FROM {schema}.lexical_texts t
                        WHERE t.content_hash = ANY (also) AND t.segment = one.segment);
        rest := coalesce((SELECT sum(w) FROM unnest(one.frequent_weights) AS w), 0);
        IF enough > 0 THEN
            least_ := greatest(least_, (SELECT s FROM unnest(scores) AS s ORDER BY s DESC OFFSET enough - 1 LIMIT 1));
        END IF;
        -- The most promising ones first: they make the bound better for the others.
        SELECT array_agg(u.o), array_agg(u.s) INTO found, totals FROM (
            (SELECT u.o, u.s FROM unnest(ordinals, scores) AS u (o, s) WHERE u.s >= least_ - rest - tiny AND enough > 0
             ORDER BY u.s DESC LIMIT CASE WHEN rest > 0 THEN 4 * enough::bigint END)
            UNION
            SELECT w.o, coalesce(u.s, 0)
            FROM unnest(wanted) AS w (o) LEFT JOIN unnest(ordinals, scores) AS u (o, s) USING (o)
        ) AS u;
        IF one.frequent IS NOT NULL THEN
            scored := format(
                'SELECT c.o, c.given + %s - c.norm * (%s) AS score FROM ('
                'SELECT f.*, u.o, u.given, '
                '0.3 + %s::float8 * (get_byte(f.l, 2 * u.o) + 256 * get_byte(f.l, 2 * u.o + 1)) AS norm '
                'FROM (SELECT g.l, %s FROM (SELECT $1 AS p, $2 AS l OFFSET 0) AS g OFFSET 0) AS f '
                'CROSS JOIN %%s OFFSET 0) AS c',
                rest, (SELECT string_agg(format('%s::float8 / (c.norm + get_byte(c.f%s, c.o))', u.w, u.i), ' + ')
                       FROM unnest(one.frequent_weights) WITH ORDINALITY AS u (w, i)),
                norm_, (SELECT string_agg(format('substr(g.p[%s], 2) AS f%s', i, i), ', ')
                              FROM generate_series(1, cardinality(one.frequent)) AS i));
            every := format('SELECT array_agg(t.o), array_agg(t.score) FROM (%s) AS t',
                            format(scored, 'unnest($3, $4) AS u (o, given)'));
            IF found IS NOT NULL THEN
                EXECUTE every INTO more, more_totals USING one.frequent, one.lengths, found, totals;
                IF enough > 0 THEN
                    least_ := greatest(least_, (
                        SELECT s FROM unnest(more_totals) AS s ORDER BY s DESC OFFSET enough - 1 LIMIT 1));
                    SELECT array_agg(u.o), array_agg(u.s) INTO ordinals, scores FROM unnest(ordinals, scores) AS u (o, s)
                        WHERE u.s >= least_ - rest - tiny
                        AND NOT EXISTS (SELECT FROM unnest(more) AS m (o) WHERE m.o = u.o);
                ELSE
                    ordinals := NULL;
                END IF;
                found := more;
                totals := more_totals;
                IF ordinals IS NOT NULL THEN
                    EXECUTE every INTO more, more_totals USING one.frequent, one.lengths, ordinals, scores;
                    found := found || more;
                    totals := totals || more_totals;
                    least_ := greatest(least_, (
                        SELECT s FROM unnest(totals) AS s ORDER BY s DESC OFFSET enough - 1 LIMIT 1));
                END IF;
            END IF;
            IF enough > 0 AND least_ = 0 THEN
                EXECUTE format('SELECT t.score FROM (%s) AS t ORDER BY t.score DESC OFFSET $3 - 1 LIMIT 1',
                               format(scored, format('(SELECT o, 0 AS given FROM generate_series(0, %s, %s) AS o) AS u',
                                                     one.texts - 1, sampled)))
                    INTO least_ USING one.frequent, one.lengths, enough;
                least_ := greatest(least_, 0);
            END IF;
            IF enough > 0 AND least_ <= rest THEN
                -- What single terms, the heavier half and all of them must add beside the whole weight of the others.
                -- Integers are rounded so that no text is lost, and are smaller than 2 ** 31.
                WITH weighed AS MATERIALIZED (
                    SELECT u.*, row_number() OVER (ORDER BY u.w DESC) AS place, count(*) OVER () AS terms
                    FROM unnest(one.frequent_weights) WITH ORDINALITY AS u (w, i)
                )
                SELECT string_agg(q.condition, ' AND ' ORDER BY q.terms) INTO conditions FROM (
                    SELECT 1 AS terms, format('get_byte(f.f%s, u.o) > 0', h.i) AS condition
                    FROM weighed h WHERE rest - h.w < least_ - tiny
                    UNION ALL
                    SELECT p.terms, format(
                        '%s - %s * (get_byte(f.l, 2 * u.o) + 256 * get_byte(f.l, 2 * u.o + 1)) >= %s', p.sums,
                        floor(c.bound * norm_)::integer, floor(c.bound * 0.3)::integer)
                    FROM (
                        SELECT n.terms, sum(h.w) AS total,
                            string_agg(format('%s * get_byte(f.f%s, u.o)', ceil(1000 * h.w)::integer, h.i), ' + ') AS sums
                        FROM weighed h
                        CROSS JOIN LATERAL (SELECT h.terms UNION SELECT h.terms / 2 WHERE h.terms > 5) AS n (terms)
                        WHERE h.place <= n.terms
                        GROUP BY n.terms) AS p
                    CROSS JOIN LATERAL (SELECT least_ - tiny - (rest - p.total)) AS o (own)
                    CROSS JOIN LATERAL (SELECT least(1000 * p.total * o.own / greatest(p.total - o.own, tiny),
                                                     30000 / norm_, 1000000000 / 0.3)) AS c (bound)
                    WHERE o.own > 0) AS q;
                EXECUTE format('SELECT array_agg(t.o), array_agg(t.score) FROM (SELECT t.o, max(t.score) AS score FROM ('
                               'SELECT u.o, u.s FROM unnest($3, $4) AS u (o, s) UNION ALL ('
                               'SELECT * FROM (%s) AS t (o, score) WHERE t.score >= $5 '
                               'ORDER BY t.score DESC LIMIT $6)) AS t (o, score) GROUP BY t.o) AS t',
                               format(scored, format('(SELECT generate_series(0, %s) AS o, 0 AS given) AS u WHERE %s',
                                                     one.texts - 1, coalesce(conditions, 'true'))))
                    INTO found, totals USING one.frequent, one.lengths, found, totals, greatest(least_ - tiny, tiny),
                        enough + coalesce(cardinality(found), 0);
            END IF;
        END IF;
        IF enough > 0 THEN
            best := ARRAY(SELECT s FROM unnest(best || totals) AS s ORDER BY s DESC LIMIT enough);
            least_ := greatest(least_, best[enough]);
        END IF;
        RETURN QUERY SELECT t.content_hash, u.s / ideal FROM unnest(found, totals) AS u (o, s)
            JOIN {schema}.lexical_texts t ON t.segment = one.segment AND t.ordinal = u.o
            WHERE u.s > tiny AND (u.s >= least_ - tiny OR u.o = ANY (wanted));
    END LOOP;
    RETURN QUERY SELECT d.content_hash, (
        SELECT sum((weights ->> t.term)::float8 * f.n / (f.n + 0.3 + 0.9 * d.length / mean_)) / ideal
        FROM unnest(terms_) AS t (term) CROSS JOIN LATERAL (SELECT (d.terms ->> t.term)::float8) AS f (n)
        WHERE f.n IS NOT NULL)
    FROM {schema}.lexical_landing d WHERE d.terms ?| terms_;
END
$function$;

-- Search by words and meaning; by words alone where query_vector is NULL. `in_source` is a pattern for LIKE, `in_root` a
-- root, `containing` what a chunk's metadata must contain. Where texts contain the phrases in quotes of the question,
-- only these are found, and ranked by words alone. LATERAL with LIMIT keeps the planner from reading all chunks.
CREATE OR REPLACE FUNCTION {schema}.search_chunks(
    query text, query_vector {vector}.vector, k integer DEFAULT 10,
    in_source text DEFAULT NULL, in_root text DEFAULT NULL, containing jsonb DEFAULT NULL
)
RETURNS TABLE (
    id uuid, root text, source text, document_id text, chunk_index integer, start_char integer, end_char integer,
    page_content text, metadata jsonb, score double precision, distance double precision
)
LANGUAGE plpgsql STABLE
SET hnsw.iterative_scan = 'relaxed_order'
SET hnsw.ef_search = 100
SET hnsw.max_scan_tuples = 1000000
SET jit = off
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    few_chunks constant integer := 5000;  -- as in store/search/filters.py
    growth constant integer := 8;
    everything constant integer := 1000000000;
    -- Between dollar signs, because the name of a schema may have quotes and per cent signs.
    passing constant text := $passing$
        FROM {schema}.chunks c JOIN {schema}.source_files f USING (source_key)
        WHERE ($1 IS NULL OR c.source LIKE $1) AND ($2 IS NULL OR f.root = $2) AND ($3 IS NULL OR c.metadata @> $3)
    $passing$;
    matching constant text := ' AND NOT EXISTS (SELECT FROM unnest($7) AS p (pattern) WHERE CASE '
        'WHEN octet_length(c.page_content) = length(c.page_content) THEN c.page_content '
        'ELSE normalize(c.page_content, NFKC) END COLLATE "C" !~ p.pattern)';
    -- The first $6 of the texts $4 that pass, and their shares $5.
    first_of constant text := 'SELECT array_agg(b.h ORDER BY b.place), array_agg(b.s ORDER BY b.place) FROM ('
        'SELECT u.* FROM unnest($4, $5) WITH ORDINALITY AS u (h, s, place) CROSS JOIN LATERAL ('
        'SELECT %s AND c.content_hash = u.h LIMIT 1) AS one ORDER BY u.place LIMIT $6) AS b';
    filtered constant boolean := num_nonnulls(in_source, in_root, containing) > 0;
    element text;
    indexed text;
    shown text := 'v.embedding';
    stored text;
    landing text;
    candidates integer;
    terms_ text[] := {schema}.lexical_terms(query);
    patterns text[];
    required text[];
    most integer := CASE WHEN query_vector IS NULL THEN k ELSE greatest(50, k) END;
    enough integer := most * CASE WHEN filtered THEN growth ELSE 2 END;
    few uuid[];         -- the texts that pass the filter, if they are few
    by_meaning uuid[];
    hashes uuid[];
    shares float8[];
    best uuid[];        -- by words
    best_shares float8[];
    more uuid[];
    more_shares float8[];
    start integer := 1;
    portion integer := 4 * k;
    round integer := 1;
BEGIN
    SELECT s.element_type, s.index_type, least(1000, greatest(100, s.ef_search, 2 * most)),
           quote_ident('embeddings_' || s.name), quote_ident('embeddings_' || s.name || '_landing'),
           CASE WHEN s.index_type = s.element_type THEN shown
                ELSE $cast$v.embedding::{vector}.$cast$ || s.index_type || '(' || s.dimensions || ')' END
    INTO element, indexed, candidates, stored, landing, shown FROM {schema}.spaces s WHERE s.state = 'active';
    PERFORM set_config('hnsw.ef_search', candidates::text, true);  -- until the function returns

    IF strpos(query, '"') > 0 THEN
        WITH p AS MATERIALIZED (SELECT * FROM {schema}.lexical_phrases(query))
        SELECT (SELECT array_agg(p.pattern) FROM p), ARRAY(SELECT DISTINCT unnest(p.terms) FROM p) INTO patterns, required;
    END IF;
    IF patterns IS NOT NULL THEN
        -- Texts that hold all words of the phrases, the best by all words of the question first, are read until k match.
        IF required <> '{{}}' THEN
            hashes := ARRAY(SELECT {schema}.lexical_holding(required));
        END IF;
        SELECT array_agg(s.content_hash ORDER BY s.share DESC, s.content_hash),
               array_agg(s.share ORDER BY s.share DESC, s.content_hash)
        INTO hashes, shares
        FROM (SELECT a.content_hash, max(a.share) AS share
              FROM {schema}.lexical_shares(terms_, CASE WHEN hashes IS NULL THEN everything ELSE 0 END, hashes) a
              GROUP BY 1) AS s
        WHERE hashes IS NULL OR s.content_hash IN (SELECT unnest(hashes));
        WHILE start <= cardinality(hashes) AND coalesce(cardinality(best), 0) < k LOOP
            EXECUTE format(first_of, passing || matching) INTO more, more_shares
                USING in_source, in_root, containing,
                    hashes[start:start + portion - 1], shares[start:start + portion - 1],
                    k - coalesce(cardinality(best), 0), patterns;
            best := best || more;
            best_shares := best_shares || more_shares;
            start := start + portion;
            portion := least(growth * portion, 2000);
        END LOOP;
        IF best IS NULL AND query_vector IS NULL THEN
            RETURN;
        END IF;
    END IF;

    IF best IS NOT NULL THEN
        query_vector := NULL;
        hashes := best;
        shares := best_shares;
    ELSE
        IF query_vector IS NOT NULL THEN
            EXECUTE replace(replace(replace(replace(replace(
                $query$
                SELECT array_agg(n.content_hash) FROM (
                    SELECT v.content_hash FROM (
                        SELECT content_hash, embedding FROM {schema}.%stored% UNION ALL
                        SELECT content_hash, embedding FROM {schema}.%landing%) AS v
                    WHERE EXISTS (SELECT %passing% AND c.content_hash = v.content_hash)
                    ORDER BY %shown% OPERATOR({vector}.<=>) $4::{vector}.%indexed% LIMIT $5) AS n
                $query$,
                '%stored%', stored), '%landing%', landing), '%shown%', shown), '%indexed%', indexed), '%passing%', passing)
                INTO by_meaning USING in_source, in_root, containing, query_vector, most;
        END IF;
        LOOP
            SELECT array_agg(s.content_hash ORDER BY s.share DESC, s.content_hash),
                   array_agg(s.share ORDER BY s.share DESC, s.content_hash)
            INTO hashes, shares
            FROM (SELECT a.content_hash, max(a.share) AS share
                  FROM {schema}.lexical_shares(terms_, CASE WHEN few IS NULL THEN enough ELSE 0 END, by_meaning || few) a
                  GROUP BY 1) AS s;
            -- Others may stand between those behind the first `enough`.
            EXECUTE format(first_of, passing) INTO best, best_shares
                USING in_source, in_root, containing,
                    CASE WHEN few IS NULL THEN hashes[:enough] ELSE hashes END, shares, most;
            EXIT WHEN few IS NOT NULL OR cardinality(best) >= most OR coalesce(cardinality(hashes), 0) < enough;
            IF filtered AND round = 1 THEN
                EXECUTE 'SELECT CASE WHEN count(*) <= $4 THEN coalesce(array_agg(DISTINCT p.h), ARRAY[]::uuid[]) END '
                    'FROM (SELECT c.content_hash ' || passing || ' LIMIT $4 + 1) AS p (h)'
                    INTO few USING in_source, in_root, containing, few_chunks;
            END IF;
            enough := growth * enough;
            round := round + 1;
        END LOOP;
    END IF;
    RETURN QUERY EXECUTE replace(replace(replace(replace(
        $query$
        WITH vectors AS NOT MATERIALIZED (
            SELECT content_hash, embedding FROM {schema}.%stored% UNION ALL
            SELECT content_hash, embedding FROM {schema}.%landing%
        ),
        found AS MATERIALIZED (
            SELECT b.content_hash, coalesce(w.share, 0) AS share,
                   v.embedding OPERATOR({vector}.<=>) $4::{vector}.%element% AS distance
            FROM (SELECT unnest($5) UNION SELECT unnest($6)) AS b (content_hash)
            LEFT JOIN unnest($7, $8) AS w (content_hash, share) USING (content_hash)
            LEFT JOIN vectors v USING (content_hash)
        )
        SELECT c.id, c.root, c.source, c.document_id, c.chunk_index, c.start_char, c.end_char, c.page_content,
               c.metadata, b.share + 0.75 * coalesce(1 - b.distance, 0) AS score, b.distance
        FROM (SELECT * FROM found LIMIT 2 * $9) b JOIN {schema}.placed_chunks c USING (content_hash)
        WHERE ($1 IS NULL OR c.source LIKE $1) AND ($2 IS NULL OR c.root = $2) AND ($3 IS NULL OR c.metadata @> $3)
        ORDER BY %first% score DESC, b.content_hash, c.source, c.document_id, c.chunk_index LIMIT $10
        $query$,
        '%stored%', stored), '%landing%', landing), '%element%', element),
        -- A question with a phrase that no text contains: texts with its words still come first.
        '%first%', CASE WHEN patterns IS NULL THEN '' ELSE '(b.share > 0) DESC,' END)
    USING in_source, in_root, containing, query_vector, best, by_meaning, hashes, shares, most, k;
END
$function$;
