-- The root of a chunk in the views; an index for filters on metadata; and search by words and meaning in SQL.

CREATE OR REPLACE VIEW {schema}.placed_chunks AS
SELECT c.id, c.source_key, c.source, c.document_id,
       c.chunk_index + coalesce(s.chunk_index, 0) AS chunk_index,
       c.start_char + coalesce(s.start_char, 0) AS start_char,
       c.end_char + coalesce(s.start_char, 0) AS end_char,
       c.page_content, c.metadata, c.token_count, c.content_hash, c.created_at,
       greatest(c.updated_at, s.updated_at) AS updated_at,
       (SELECT f.root FROM {schema}.source_files f WHERE f.source_key = c.source_key) AS root
FROM {schema}.chunks c LEFT JOIN {schema}.chunk_sections s USING (section);

DO $migration$
DECLARE
    space text := (SELECT name FROM {schema}.spaces WHERE state = 'active');
BEGIN
    IF space IS NOT NULL THEN
        -- Replaced in its place: what stands on it, and who may read it, stays.
        EXECUTE
            $view$CREATE OR REPLACE VIEW {schema}.document_chunks AS
            SELECT c.id, c.source, c.document_id, c.chunk_index, c.start_char, c.end_char, c.page_content, c.metadata,
                   c.token_count, c.content_hash, e.embedding, c.created_at, c.updated_at, c.root
            FROM (SELECT content_hash, embedding FROM {schema}.$view$ || quote_ident('embeddings_' || space) ||
            $view$ UNION ALL SELECT content_hash, embedding FROM {schema}.$view$ ||
            quote_ident('embeddings_' || space || '_landing') || $view$) e
            JOIN {schema}.placed_chunks c USING (content_hash)$view$;
    END IF;
END
$migration$;

CREATE INDEX chunks_metadata ON {schema}.chunks USING gin (metadata jsonb_path_ops);

-- Case folding that no locale changes: of every letter that folds to one, and of the sharp s.
CREATE FUNCTION {schema}.lexical_folded(word text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $function$
    SELECT CASE WHEN octet_length(word) = length(word) THEN lower(word COLLATE "C") ELSE
        replace(replace(translate(lower(word COLLATE "C"),
            'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮĴĶĹĻĽŁŃŅŇŊŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽƁƂƄƆƇƉƊƋƎƏƐƑƓƔƖƗƘƜƝƟƠƢƤƦƧƩƬƮƯƱƲƳƵƷƸƼǍǏǑǓǕǗǙǛǞǠǢǤǦǨǪǬǮǴǶǷǸǺǼǾȀȂȄȆȈȊȌȎȐȒȔȖȘȚȜȞȠȢȤȦȨȪȬȮȰȲȺȻȽȾɁɃɄɅɆɈɊɌɎͅͰͲͶͿΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫςϏϘϚϜϞϠϢϤϦϨϪϬϮϷϺϽϾϿЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯѠѢѤѦѨѪѬѮѰѲѴѶѸѺѼѾҀҊҌҎҐҒҔҖҘҚҜҞҠҢҤҦҨҪҬҮҰҲҴҶҸҺҼҾӀӁӃӅӇӉӋӍӐӒӔӖӘӚӜӞӠӢӤӦӨӪӬӮӰӲӴӶӸӺӼӾԀԂԄԆԈԊԌԎԐԒԔԖԘԚԜԞԠԢԤԦԨԪԬԮԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖႠႡႢႣႤႥႦႧႨႩႪႫႬႭႮႯႰႱႲႳႴႵႶႷႸႹႺႻႼႽႾႿჀჁჂჃჄჅჇჍᏸᏹᏺᏻᏼᏽᲀᲁᲂᲃᲄᲅᲆᲇᲈᲐᲑᲒᲓᲔᲕᲖᲗᲘᲙᲚᲛᲜᲝᲞᲟᲠᲡᲢᲣᲤᲥᲦᲧᲨᲩᲪᲫᲬᲭᲮᲯᲰᲱᲲᲳᲴᲵᲶᲷᲸᲹᲺᲽᲾᲿḀḂḄḆḈḊḌḎḐḒḔḖḘḚḜḞḠḢḤḦḨḪḬḮḰḲḴḶḸḺḼḾṀṂṄṆṈṊṌṎṐṒṔṖṘṚṜṞṠṢṤṦṨṪṬṮṰṲṴṶṸṺṼṾẀẂẄẆẈẊẌẎẐẒẔẠẢẤẦẨẪẬẮẰẲẴẶẸẺẼẾỀỂỄỆỈỊỌỎỐỒỔỖỘỚỜỞỠỢỤỦỨỪỬỮỰỲỴỶỸỺỼỾἈἉἊἋἌἍἎἏἘἙἚἛἜἝἨἩἪἫἬἭἮἯἸἹἺἻἼἽἾἿὈὉὊὋὌὍὙὛὝὟὨὩὪὫὬὭὮὯᾸᾹᾺῈῊῘῙῚῨῩῪῬῸῺℲↃⰀⰁⰂⰃⰄⰅⰆⰇⰈⰉⰊⰋⰌⰍⰎⰏⰐⰑⰒⰓⰔⰕⰖⰗⰘⰙⰚⰛⰜⰝⰞⰟⰠⰡⰢⰣⰤⰥⰦⰧⰨⰩⰪⰫⰬⰭⰮⰯⱠⱢⱣⱤⱧⱩⱫⱭⱮⱯⱰⱲⱵⱾⱿⲀⲂⲄⲆⲈⲊⲌⲎⲐⲒⲔⲖⲘⲚⲜⲞⲠⲢⲤⲦⲨⲪⲬⲮⲰⲲⲴⲶⲸⲺⲼⲾⳀⳂⳄⳆⳈⳊⳌⳎⳐⳒⳔⳖⳘⳚⳜⳞⳠⳢⳫⳭⳲꙀꙂꙄꙆꙈꙊꙌꙎꙐꙒꙔꙖꙘꙚꙜꙞꙠꙢꙤꙦꙨꙪꙬꚀꚂꚄꚆꚈꚊꚌꚎꚐꚒꚔꚖꚘꚚꜢꜤꜦꜨꜪꜬꜮꜲꜴꜶꜸꜺꜼꜾꝀꝂꝄꝆꝈꝊꝌꝎꝐꝒꝔꝖꝘꝚꝜꝞꝠꝢꝤꝦꝨꝪꝬꝮꝹꝻꝽꝾꞀꞂꞄꞆꞋꞍꞐꞒꞖꞘꞚꞜꞞꞠꞢꞤꞦꞨꞪꞫꞬꞭꞮꞰꞱꞲꞳꞴꞶꞸꞺꞼꞾꟀꟂꟄꟅꟆꟇꟉꟐꟖꟘꟵꭰꭱꭲꭳꭴꭵꭶꭷꭸꭹꭺꭻꭼꭽꭾꭿꮀꮁꮂꮃꮄꮅꮆꮇꮈꮉꮊꮋꮌꮍꮎꮏꮐꮑꮒꮓꮔꮕꮖꮗꮘꮙꮚꮛꮜꮝꮞꮟꮠꮡꮢꮣꮤꮥꮦꮧꮨꮩꮪꮫꮬꮭꮮꮯꮰꮱꮲꮳꮴꮵꮶꮷꮸꮹꮺꮻꮼꮽꮾꮿ𐐀𐐁𐐂𐐃𐐄𐐅𐐆𐐇𐐈𐐉𐐊𐐋𐐌𐐍𐐎𐐏𐐐𐐑𐐒𐐓𐐔𐐕𐐖𐐗𐐘𐐙𐐚𐐛𐐜𐐝𐐞𐐟𐐠𐐡𐐢𐐣𐐤𐐥𐐦𐐧𐒰𐒱𐒲𐒳𐒴𐒵𐒶𐒷𐒸𐒹𐒺𐒻𐒼𐒽𐒾𐒿𐓀𐓁𐓂𐓃𐓄𐓅𐓆𐓇𐓈𐓉𐓊𐓋𐓌𐓍𐓎𐓏𐓐𐓑𐓒𐓓𐕰𐕱𐕲𐕳𐕴𐕵𐕶𐕷𐕸𐕹𐕺𐕼𐕽𐕾𐕿𐖀𐖁𐖂𐖃𐖄𐖅𐖆𐖇𐖈𐖉𐖊𐖌𐖍𐖎𐖏𐖐𐖑𐖒𐖔𐖕𐲀𐲁𐲂𐲃𐲄𐲅𐲆𐲇𐲈𐲉𐲊𐲋𐲌𐲍𐲎𐲏𐲐𐲑𐲒𐲓𐲔𐲕𐲖𐲗𐲘𐲙𐲚𐲛𐲜𐲝𐲞𐲟𐲠𐲡𐲢𐲣𐲤𐲥𐲦𐲧𐲨𐲩𐲪𐲫𐲬𐲭𐲮𐲯𐲰𐲱𐲲𑢠𑢡𑢢𑢣𑢤𑢥𑢦𑢧𑢨𑢩𑢪𑢫𑢬𑢭𑢮𑢯𑢰𑢱𑢲𑢳𑢴𑢵𑢶𑢷𑢸𑢹𑢺𑢻𑢼𑢽𑢾𑢿𖹀𖹁𖹂𖹃𖹄𖹅𖹆𖹇𖹈𖹉𖹊𖹋𖹌𖹍𖹎𖹏𖹐𖹑𖹒𖹓𖹔𖹕𖹖𖹗𖹘𖹙𖹚𖹛𖹜𖹝𖹞𖹟𞤀𞤁𞤂𞤃𞤄𞤅𞤆𞤇𞤈𞤉𞤊𞤋𞤌𞤍𞤎𞤏𞤐𞤑𞤒𞤓𞤔𞤕𞤖𞤗𞤘𞤙𞤚𞤛𞤜𞤝𞤞𞤟𞤠𞤡',
            'àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįĵķĺļľłńņňŋōŏőœŕŗřśŝşšţťŧũūŭůűųŵŷÿźżžɓƃƅɔƈɖɗƌǝəɛƒɠɣɩɨƙɯɲɵơƣƥʀƨʃƭʈưʊʋƴƶʒƹƽǎǐǒǔǖǘǚǜǟǡǣǥǧǩǫǭǯǵƕƿǹǻǽǿȁȃȅȇȉȋȍȏȑȓȕȗșțȝȟƞȣȥȧȩȫȭȯȱȳⱥȼƚⱦɂƀʉʌɇɉɋɍɏιͱͳͷϳάέήίόύώαβγδεζηθικλμνξοπρστυφχψωϊϋσϗϙϛϝϟϡϣϥϧϩϫϭϯϸϻͻͼͽѐёђѓєѕіїјљњћќѝўџабвгдежзийклмнопрстуфхцчшщъыьэюяѡѣѥѧѩѫѭѯѱѳѵѷѹѻѽѿҁҋҍҏґғҕҗҙқҝҟҡңҥҧҩҫҭүұҳҵҷҹһҽҿӏӂӄӆӈӊӌӎӑӓӕӗәӛӝӟӡӣӥӧөӫӭӯӱӳӵӷӹӻӽӿԁԃԅԇԉԋԍԏԑԓԕԗԙԛԝԟԡԣԥԧԩԫԭԯաբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆⴀⴁⴂⴃⴄⴅⴆⴇⴈⴉⴊⴋⴌⴍⴎⴏⴐⴑⴒⴓⴔⴕⴖⴗⴘⴙⴚⴛⴜⴝⴞⴟⴠⴡⴢⴣⴤⴥⴧⴭᏰᏱᏲᏳᏴᏵвдосттъѣꙋაბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰჱჲჳჴჵჶჷჸჹჺჽჾჿḁḃḅḇḉḋḍḏḑḓḕḗḙḛḝḟḡḣḥḧḩḫḭḯḱḳḵḷḹḻḽḿṁṃṅṇṉṋṍṏṑṓṕṗṙṛṝṟṡṣṥṧṩṫṭṯṱṳṵṷṹṻṽṿẁẃẅẇẉẋẍẏẑẓẕạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹỻỽỿἀἁἂἃἄἅἆἇἐἑἒἓἔἕἠἡἢἣἤἥἦἧἰἱἲἳἴἵἶἷὀὁὂὃὄὅὑὓὕὗὠὡὢὣὤὥὦὧᾰᾱὰὲὴῐῑὶῠῡὺῥὸὼⅎↄⰰⰱⰲⰳⰴⰵⰶⰷⰸⰹⰺⰻⰼⰽⰾⰿⱀⱁⱂⱃⱄⱅⱆⱇⱈⱉⱊⱋⱌⱍⱎⱏⱐⱑⱒⱓⱔⱕⱖⱗⱘⱙⱚⱛⱜⱝⱞⱟⱡɫᵽɽⱨⱪⱬɑɱɐɒⱳⱶȿɀⲁⲃⲅⲇⲉⲋⲍⲏⲑⲓⲕⲗⲙⲛⲝⲟⲡⲣⲥⲧⲩⲫⲭⲯⲱⲳⲵⲷⲹⲻⲽⲿⳁⳃⳅⳇⳉⳋⳍⳏⳑⳓⳕⳗⳙⳛⳝⳟⳡⳣⳬⳮⳳꙁꙃꙅꙇꙉꙋꙍꙏꙑꙓꙕꙗꙙꙛꙝꙟꙡꙣꙥꙧꙩꙫꙭꚁꚃꚅꚇꚉꚋꚍꚏꚑꚓꚕꚗꚙꚛꜣꜥꜧꜩꜫꜭꜯꜳꜵꜷꜹꜻꜽꜿꝁꝃꝅꝇꝉꝋꝍꝏꝑꝓꝕꝗꝙꝛꝝꝟꝡꝣꝥꝧꝩꝫꝭꝯꝺꝼᵹꝿꞁꞃꞅꞇꞌɥꞑꞓꞗꞙꞛꞝꞟꞡꞣꞥꞧꞩɦɜɡɬɪʞʇʝꭓꞵꞷꞹꞻꞽꞿꟁꟃꞔʂᶎꟈꟊꟑꟗꟙꟶᎠᎡᎢᎣᎤᎥᎦᎧᎨᎩᎪᎫᎬᎭᎮᎯᎰᎱᎲᎳᎴᎵᎶᎷᎸᎹᎺᎻᎼᎽᎾᎿᏀᏁᏂᏃᏄᏅᏆᏇᏈᏉᏊᏋᏌᏍᏎᏏᏐᏑᏒᏓᏔᏕᏖᏗᏘᏙᏚᏛᏜᏝᏞᏟᏠᏡᏢᏣᏤᏥᏦᏧᏨᏩᏪᏫᏬᏭᏮᏯ𐐨𐐩𐐪𐐫𐐬𐐭𐐮𐐯𐐰𐐱𐐲𐐳𐐴𐐵𐐶𐐷𐐸𐐹𐐺𐐻𐐼𐐽𐐾𐐿𐑀𐑁𐑂𐑃𐑄𐑅𐑆𐑇𐑈𐑉𐑊𐑋𐑌𐑍𐑎𐑏𐓘𐓙𐓚𐓛𐓜𐓝𐓞𐓟𐓠𐓡𐓢𐓣𐓤𐓥𐓦𐓧𐓨𐓩𐓪𐓫𐓬𐓭𐓮𐓯𐓰𐓱𐓲𐓳𐓴𐓵𐓶𐓷𐓸𐓹𐓺𐓻𐖗𐖘𐖙𐖚𐖛𐖜𐖝𐖞𐖟𐖠𐖡𐖣𐖤𐖥𐖦𐖧𐖨𐖩𐖪𐖫𐖬𐖭𐖮𐖯𐖰𐖱𐖳𐖴𐖵𐖶𐖷𐖸𐖹𐖻𐖼𐳀𐳁𐳂𐳃𐳄𐳅𐳆𐳇𐳈𐳉𐳊𐳋𐳌𐳍𐳎𐳏𐳐𐳑𐳒𐳓𐳔𐳕𐳖𐳗𐳘𐳙𐳚𐳛𐳜𐳝𐳞𐳟𐳠𐳡𐳢𐳣𐳤𐳥𐳦𐳧𐳨𐳩𐳪𐳫𐳬𐳭𐳮𐳯𐳰𐳱𐳲𑣀𑣁𑣂𑣃𑣄𑣅𑣆𑣇𑣈𑣉𑣊𑣋𑣌𑣍𑣎𑣏𑣐𑣑𑣒𑣓𑣔𑣕𑣖𑣗𑣘𑣙𑣚𑣛𑣜𑣝𑣞𑣟𖹠𖹡𖹢𖹣𖹤𖹥𖹦𖹧𖹨𖹩𖹪𖹫𖹬𖹭𖹮𖹯𖹰𖹱𖹲𖹳𖹴𖹵𖹶𖹷𖹸𖹹𖹺𖹻𖹼𖹽𖹾𖹿𞤢𞤣𞤤𞤥𞤦𞤧𞤨𞤩𞤪𞤫𞤬𞤭𞤮𞤯𞤰𞤱𞤲𞤳𞤴𞤵𞤶𞤷𞤸𞤹𞤺𞤻𞤼𞤽𞤾𞤿𞥀𞥁𞥂𞥃'),
            'ß', 'ss'), 'ẞ', 'ss') END
$function$;

-- An English word without its ending: text/terms.py, `stem`.
CREATE FUNCTION {schema}.lexical_stem(word text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $function$
DECLARE
    rest text;
BEGIN
    IF word ~ '(sses|ies)$' THEN
        word := left(word, -2);
    ELSIF word ~ '[^us]s$' THEN
        word := left(word, -1);
    END IF;
    IF word ~ '(ed|ing)$' AND word !~ 'eed$' THEN
        rest := regexp_replace(word, '(ed|ing)$', '');
        IF length(rest) >= 2 AND rest ~ '[aeiouy]' THEN
            word := CASE WHEN length(rest) > 2 AND rest ~ '([^aeiouylsz])\1$' THEN left(rest, -1) ELSE rest END;
        END IF;
    END IF;
    IF length(word) > 3 AND right(word, 1) = 'e' THEN
        word := left(word, -1);
    END IF;
    IF word ~ '.[^aeiou]y$' THEN
        word := left(word, -1) || 'i';
    END IF;
    RETURN word;
END
$function$;

-- The distinct terms of a question: text/terms.py, `frequencies`, by the same rules and classes of characters.
CREATE FUNCTION {schema}.lexical_terms(query text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $function$
DECLARE
    token text;
    words text[];
    parts text[];
    found text[] := ARRAY[]::text[];
    names text[] := ARRAY[]::text[];
BEGIN
    FOR token IN
        SELECT m[1] FROM regexp_matches(normalize(left(query, 4000), NFKC),
            '([^\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u02c2-\u02c5\u02d2-\u02df\u037e\u0387\u055a-\u055f\u0589\u058a\u05be\u05c0\u05c3\u05f3\u05f4\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u0e3f\u0e4f\u0e5a-\u0e5f\u104a-\u104f\u17d4-\u17df\u1680\u2000-\u2bff\u2e00-\u3004\u3008-\u3040\u3097-\u309c\u30a0\u30fb\u3130-\u318f\ue000-\uf8ff\ufe00-\ufe6f\uff00-\uffff\U0001d000-\U0001d3ff\U0001f000-\U0001fbff\U000e0000-\U0010ffff\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff\u0e01-\u0e3e\u0e40-\u0e4e\u0e50-\u0e59\u0e80-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17e0-\u17ff]+(?:[._\-][^\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u02c2-\u02c5\u02d2-\u02df\u037e\u0387\u055a-\u055f\u0589\u058a\u05be\u05c0\u05c3\u05f3\u05f4\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u0e3f\u0e4f\u0e5a-\u0e5f\u104a-\u104f\u17d4-\u17df\u1680\u2000-\u2bff\u2e00-\u3004\u3008-\u3040\u3097-\u309c\u30a0\u30fb\u3130-\u318f\ue000-\uf8ff\ufe00-\ufe6f\uff00-\uffff\U0001d000-\U0001d3ff\U0001f000-\U0001fbff\U000e0000-\U0010ffff\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff\u0e01-\u0e3e\u0e40-\u0e4e\u0e50-\u0e59\u0e80-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17e0-\u17ff]+)*|[\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+|[\u0e01-\u0e3e\u0e40-\u0e4e\u0e50-\u0e59\u0e80-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17e0-\u17ff]+)', 'g') AS m
    LOOP
        IF token ~ '^[\u1100-\u11ff\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]' THEN
            found := found || ARRAY(
                SELECT substr(token, i, 2) FROM generate_series(1, greatest(1, length(token) - 1)) AS i
            );
        ELSIF token ~ '^[\u0e01-\u0e3e\u0e40-\u0e4e\u0e50-\u0e59\u0e80-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17e0-\u17ff]' THEN
            found := found || ARRAY(
                SELECT substr(token, i, 3) FROM generate_series(1, greatest(1, length(token) - 2)) AS i
            );
        ELSE
            names := names || token;
            words := regexp_split_to_array(token, '[._\-]');
            IF cardinality(words) > 1 THEN
                names := names || words;
            END IF;
            FOREACH token IN ARRAY words LOOP
                IF length(token) <= 64 THEN
                    parts := regexp_split_to_array(regexp_replace(regexp_replace(token,
                        '([a-z0-9])([A-Z])', E'\\1\x01\\2', 'g'), '([A-Z])([A-Z][a-z])', E'\\1\x01\\2', 'g'), E'\x01');
                    IF cardinality(parts) > 1 THEN
                        names := names || parts;
                    END IF;
                END IF;
            END LOOP;
        END IF;
    END LOOP;
    found := found || ARRAY(
        SELECT CASE WHEN f ~ '^[a-z]{{4,24}}$' THEN {schema}.lexical_stem(f) ELSE left(f, 64) END
        FROM unnest(names) AS n CROSS JOIN LATERAL {schema}.lexical_folded(n) AS f
    );
    RETURN ARRAY(SELECT DISTINCT t FROM unnest(found) AS t);
END
$function$;

-- The postings of a term in a segment; of a frequent one those of some ordinals alone, where those are given.
CREATE FUNCTION {schema}.lexical_postings_of(term_ text, segment_ integer, only_ integer[] DEFAULT NULL)
RETURNS TABLE (ordinal integer, frequency integer, length integer)
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $function$
DECLARE
    data bytea;
    lengths_ bytea;
    dense boolean;
BEGIN
    -- Joined with nothing, they are read from the disk once and not for every byte.
    SELECT p.postings || ''::bytea, p.frequent IS NOT NULL, s.lengths || ''::bytea INTO data, dense, lengths_
    FROM {schema}.lexical_postings p JOIN {schema}.lexical_segments s USING (segment)
    WHERE p.term = term_ AND p.segment = segment_;
    IF NOT dense THEN
        RETURN QUERY
            SELECT o, get_byte(data, i * 4), get_byte(lengths_, 2 * o) + 256 * get_byte(lengths_, 2 * o + 1)
            FROM generate_series(0, octet_length(data) / 4 - 1) AS i CROSS JOIN LATERAL (SELECT
                get_byte(data, i * 4 + 1) + 256 * get_byte(data, i * 4 + 2) + 65536 * get_byte(data, i * 4 + 3)) AS p (o);
    ELSIF only_ IS NOT NULL THEN
        RETURN QUERY
            SELECT o, get_byte(data, o), get_byte(lengths_, 2 * o) + 256 * get_byte(lengths_, 2 * o + 1)
            FROM unnest(only_) AS o WHERE get_byte(data, o) > 0;
    ELSE
        RETURN QUERY
            SELECT o, get_byte(data, o), get_byte(lengths_, 2 * o) + 256 * get_byte(lengths_, 2 * o + 1)
            FROM generate_series(0, octet_length(data) - 1) AS o WHERE get_byte(data, o) > 0;
    END IF;
END
$function$;

-- The shares of the best possible BM25 score that texts have for some terms. Frequent terms add to the scores of the
-- texts that the others find; they find texts themselves where the others find fewer than `enough`.
CREATE FUNCTION {schema}.lexical_shares(terms_ text[], enough integer)
RETURNS TABLE (content_hash uuid, share double precision)
LANGUAGE plpgsql STABLE AS $function$
DECLARE
    texts_ bigint;
    mean_ double precision;
    weights jsonb;
    ideal double precision;
    rare_ jsonb;
BEGIN
    SELECT greatest(1, sum(t)), greatest(1, sum(l) / greatest(1, sum(t))) INTO texts_, mean_ FROM (
        SELECT sum(s.texts), sum(s.length) FROM {schema}.lexical_segments s
        UNION ALL SELECT count(*), sum(d.length) FROM {schema}.lexical_landing d) AS totals (t, l);
    SELECT jsonb_object_agg(w.term, w.weight), sum(w.weight) INTO weights, ideal FROM (
        SELECT t.term, ln(1 + (texts_ - least(h.holding, texts_) + 0.5) / (h.holding + 0.5)) AS weight
        FROM unnest(terms_) AS t (term) CROSS JOIN LATERAL (
            SELECT coalesce((SELECT sum(coalesce(p.frequent, octet_length(p.postings) / 4))
                             FROM {schema}.lexical_postings p WHERE p.term = t.term), 0)
                 + (SELECT count(*) FROM {schema}.lexical_landing d WHERE d.terms ? t.term)) AS h (holding)) AS w;
    IF ideal IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH stored AS (
        SELECT p.term, p.segment, p.frequent IS NOT NULL AS frequent, (weights ->> p.term)::float8 AS weight
        FROM {schema}.lexical_postings p WHERE p.term = ANY (terms_)
    ),
    rare AS MATERIALIZED (
        SELECT s.segment, p.ordinal, sum(s.weight * p.frequency / (p.frequency + 0.3 + 0.9 * p.length / mean_)) AS score
        FROM stored s CROSS JOIN LATERAL {schema}.lexical_postings_of(s.term, s.segment) AS p
        WHERE NOT s.frequent GROUP BY s.segment, p.ordinal
    ),
    candidates AS MATERIALIZED (
        SELECT r.segment, CASE WHEN (SELECT count(*) FROM rare) >= enough THEN array_agg(r.ordinal) END AS ordinals
        FROM rare r GROUP BY r.segment
    ),
    common AS (
        SELECT s.segment, p.ordinal, sum(s.weight * p.frequency / (p.frequency + 0.3 + 0.9 * p.length / mean_)) AS score
        FROM stored s LEFT JOIN candidates c USING (segment)
        CROSS JOIN LATERAL {schema}.lexical_postings_of(s.term, s.segment, CASE
            WHEN (SELECT count(*) FROM rare) >= enough THEN coalesce(c.ordinals, ARRAY[]::integer[]) END) AS p
        WHERE s.frequent GROUP BY s.segment, p.ordinal
    ),
    scored AS (
        SELECT b.segment, b.ordinal, sum(b.score) AS score
        FROM (SELECT * FROM rare UNION ALL SELECT * FROM common) b GROUP BY b.segment, b.ordinal
    )
    SELECT t.content_hash, s.score / ideal FROM scored s JOIN {schema}.lexical_texts t USING (segment, ordinal)
    UNION ALL
    SELECT d.content_hash, (
        SELECT sum((weights ->> t.term)::float8 * f.n / (f.n + 0.3 + 0.9 * d.length / mean_)) / ideal
        FROM unnest(terms_) AS t (term) CROSS JOIN LATERAL (SELECT (d.terms ->> t.term)::float8) AS f (n)
        WHERE f.n IS NOT NULL)
    FROM {schema}.lexical_landing d WHERE d.terms ?| terms_;
END
$function$;

SELECT '[1]'::{vector}.vector;  -- loads pgvector, so that a role without further rights may name its settings

-- Search by words and meaning; by words alone where query_vector is NULL. `source` is a pattern for LIKE, `root` a root,
-- `metadata` what a chunk's metadata must contain.
CREATE FUNCTION {schema}.search_chunks(
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
AS $function$
DECLARE
    element text;
    space text;
    candidates integer;
    terms_ text[] := {schema}.lexical_terms(query);
    most integer := greatest(50, k);
BEGIN
    SELECT s.element_type, s.name, least(1000, greatest(100, s.ef_search, 2 * most)) INTO element, space, candidates
    FROM {schema}.spaces s WHERE s.state = 'active';
    PERFORM set_config('hnsw.ef_search', candidates::text, true);  -- until the function returns
    RETURN QUERY EXECUTE replace(replace(replace(
        $query$
        WITH words AS MATERIALIZED (SELECT * FROM {schema}.lexical_shares($3, $4)),
        by_words AS MATERIALIZED (
            SELECT w.content_hash FROM words w WHERE EXISTS (
                SELECT FROM {schema}.chunks c JOIN {schema}.source_files f USING (source_key)
                WHERE c.content_hash = w.content_hash AND ($5 IS NULL OR c.source LIKE $5)
                AND ($6 IS NULL OR f.root = $6) AND ($7 IS NULL OR c.metadata @> $7))
            ORDER BY w.share DESC, w.content_hash LIMIT $4
        ),
        vectors AS (
            SELECT content_hash, embedding FROM {schema}.%indexed% UNION ALL
            SELECT content_hash, embedding FROM {schema}.%landing%
        ),
        by_meaning AS MATERIALIZED (
            SELECT v.content_hash FROM vectors v WHERE $1 IS NOT NULL AND EXISTS (
                SELECT FROM {schema}.chunks c JOIN {schema}.source_files f USING (source_key)
                WHERE c.content_hash = v.content_hash AND ($5 IS NULL OR c.source LIKE $5)
                AND ($6 IS NULL OR f.root = $6) AND ($7 IS NULL OR c.metadata @> $7))
            ORDER BY v.embedding OPERATOR({vector}.<=>) $1::{vector}.%element% LIMIT $4
        ),
        found AS MATERIALIZED (
            SELECT b.content_hash, coalesce(w.share, 0) AS share,
                   v.embedding OPERATOR({vector}.<=>) $1::{vector}.%element% AS distance
            FROM (SELECT content_hash FROM by_words UNION SELECT content_hash FROM by_meaning) b
            LEFT JOIN words w USING (content_hash) LEFT JOIN vectors v USING (content_hash)
        )
        SELECT c.id, c.root, c.source, c.document_id, c.chunk_index, c.start_char, c.end_char, c.page_content,
               c.metadata, b.share + 0.75 * coalesce(1 - b.distance, 0) AS score, b.distance
        FROM found b JOIN {schema}.placed_chunks c USING (content_hash)
        WHERE ($5 IS NULL OR c.source LIKE $5) AND ($6 IS NULL OR c.root = $6) AND ($7 IS NULL OR c.metadata @> $7)
        ORDER BY score DESC, c.id LIMIT $2
        $query$,
        '%indexed%', quote_ident('embeddings_' || space)), '%landing%', quote_ident('embeddings_' || space || '_landing')),
        '%element%', element)
    USING query_vector, k, terms_, most, in_source, in_root, containing;
END
$function$;
