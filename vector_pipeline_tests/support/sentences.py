"""Everyday sentences in many languages, and the encodings that texts in them come in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """Encodings as Python names them, the commonest first."""

    name: str
    encodings: tuple[str, ...]
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.sentences)


def _language(name: str, encodings: str, text: str) -> Language:
    return Language(name, tuple(encodings.split()), tuple(text.strip().splitlines()))


LANGUAGES = (
    _language(
        "Korean",
        "cp949 euc_kr",
        """
도서관은 월요일에 쉽니다.
안녕하세요, 오늘은 날씨가 참 좋습니다.
새로 나온 자전거를 타고 강가를 따라 한 시간쯤 달렸다.
회원은 누구나 공구를 두 주 동안 빌릴 수 있으며, 늦으면 하루에 500원을 낸다.
김치를 담글 때는 배추를 소금에 절인 다음 물기를 빼야 한다.
그 사람이 어디에서 왔는지 아무도 몰랐지만, 모두 반갑게 맞이해 주었다.
"내일 아침 일찍 떠나자"라고 아버지가 말씀하셨다.
서버를 다시 시작하려면 관리자 권한이 필요합니다 (자세한 내용은 설명서 12쪽).
""",
    ),
    _language(
        "Japanese",
        "shift_jis cp932 euc_jp iso2022_jp",
        """
図書館は月曜日に休みです。
こんにちは。今日はとてもいい天気ですね。
新しい自転車に乗って、川沿いを一時間ほど走りました。
会員の方は、道具を二週間まで借りることができます。
お茶を入れるときは、七十度くらいのお湯を使ってください。
その人がどこから来たのか、だれも知らなかった。
「明日の朝早く出発しよう」と父が言った。
サーバーを再起動するには、管理者の権限が必要です（詳しくは説明書の12ページ）。
""",
    ),
    _language(
        "Chinese (simplified)",
        "gb18030 gbk gb2312",
        """
图书馆星期一不开门。
你好，今天的天气真不错。
我骑着新买的自行车，沿着河边走了大约一个小时。
会员可以免费借用工具两个星期，过期每天要交五元钱。
做泡菜的时候，要先用盐把白菜腌好，然后把水挤干。
谁也不知道那个人是从哪里来的，但大家都很欢迎他。
“我们明天一早就出发吧。”父亲说。
重新启动服务器需要管理员的权限（详细内容请看说明书第12页）。
""",
    ),
    _language(
        "Chinese (traditional)",
        "big5 cp950",
        """
圖書館星期一不開門。
你好，今天的天氣真不錯。
我騎著新買的腳踏車，沿著河邊走了大約一個小時。
會員可以免費借用工具兩個星期，過期每天要交五元。
做泡菜的時候，要先用鹽把白菜醃好，然後把水擠乾。
誰也不知道那個人是從哪裡來的，但大家都很歡迎他。
「我們明天一早就出發吧。」父親說。
重新啟動伺服器需要管理員的權限（詳細內容請看說明書第12頁）。
""",
    ),
    _language(
        "English",
        "cp1252",
        """
The café on the corner opens at eight and closes at six.
It’s a pity that nobody told us – we would have come.
The ticket costs £5 for members and €7 for everybody else.
“Naïve” was the word that she used, and I think she was right.
Copyright © 2004 by the authors; all rights reserved…
Turn the knob by 90° and wait until the light goes out.
His résumé said that he had worked in Zürich for three years.
Mix ½ cup of sugar with two eggs, and leave it in the fridge overnight.
""",
    ),
    _language(
        "French",
        "cp1252 iso8859_15 mac_roman cp850",
        """
La bibliothèque est fermée le lundi.
Bonjour, il fait très beau aujourd'hui.
Avec mon nouveau vélo, j'ai roulé une heure le long de la rivière.
Les membres peuvent emprunter les outils pendant deux semaines ; après, c'est un euro par jour.
Personne ne savait d'où venait cet homme, mais tout le monde l'a reçu à bras ouverts.
Pour faire le thé, il faut de l'eau à soixante-dix degrés.
Nous partirons demain matin de bonne heure, a dit mon père.
Le garçon a goûté la crème brûlée et en a redemandé à sa sœur.
""",
    ),
    _language(
        "German",
        "cp1252 iso8859_15 mac_roman cp850",
        """
Die Bücherei ist montags geschlossen.
Guten Tag, heute ist wirklich schönes Wetter, nicht wahr, Herr Müller?
Mit dem neuen Fahrrad fuhr ich eine Stunde am Fluß entlang über die Brücke.
Mitglieder können Werkzeuge zwei Wochen ausleihen, danach kostet es täglich fünf Euro.
Niemand wußte, woher der Mann kam, aber alle begrüßten ihn fröhlich.
Für grünen Tee braucht man Wasser von siebzig Grad.
„Wir müssen morgen früh los“, sagte der Vater.
Um den Server neu zu starten, benötigen Sie die nötigen Rechte (Näheres auf Seite 12).
""",
    ),
    _language(
        "Spanish",
        "cp1252 iso8859_15 mac_roman",
        """
La biblioteca está cerrada los lunes por la mañana.
¡Hola! ¿Cómo estás? Hoy hace muy buen tiempo.
Con mi bicicleta nueva paseé una hora por la orilla del río.
Los socios pueden pedir las herramientas durante dos semanas; después se paga un euro al día.
Nadie sabía de dónde venía aquel señor, pero todos lo recibieron con cariño.
Para el té verde hace falta agua a setenta grados, según mi abuela.
El niño comió la piña y pidió más.
Para reiniciar el servidor se necesitan permisos de administración (véase la página 12).
""",
    ),
    _language(
        "Portuguese",
        "cp1252 iso8859_15",
        """
A biblioteca não abre à segunda-feira.
Olá, hoje está um dia muito bonito, não é?
Com a bicicleta nova andei uma hora ao longo do rio até à estação.
Os sócios podem levar as ferramentas por duas semanas; depois são cinco euros por dia.
Ninguém sabia de onde vinha aquele homem, mas todos o receberam de coração aberto.
O chá precisa de água a setenta graus, disse a avó.
A criança comeu o pão com limão e pediu mais.
As informações estão na página 12 das instruções.
""",
    ),
    _language(
        "Swedish",
        "cp1252 iso8859_15",
        """
Biblioteket är stängt på måndagar.
Hej, i dag är det mycket vackert väder.
Med min nya cykel åkte jag en timme längs ån och över bron.
Medlemmar får låna verktyg i två veckor, därefter kostar det fem kronor om dagen.
Ingen visste varifrån mannen kom, men alla hälsade honom välkommen.
För grönt te behövs vatten på sjuttio grader.
Vi måste ge oss av tidigt i morgon, sade far.
Barnet åt upp smörgåsen och frågade efter en till.
""",
    ),
    _language(
        "Polish",
        "cp1250 iso8859_2",
        """
Biblioteka w poniedziałek jest zamknięta.
Dzień dobry, dzisiaj jest bardzo ładna pogoda.
Na nowym rowerze jechałem godzinę wzdłuż rzeki aż do mostu.
Członkowie mogą wypożyczać narzędzia na dwa tygodnie, później płaci się pięć złotych dziennie.
Nikt nie wiedział, skąd przyszedł ten człowiek, ale wszyscy przyjęli go życzliwie.
Do zielonej herbaty potrzebna jest woda o temperaturze siedemdziesięciu stopni.
Wyjedziemy jutro wcześnie rano – powiedział ojciec.
Żeby uruchomić serwer ponownie, trzeba mieć uprawnienia (szczegóły na stronie 12).
""",
    ),
    _language(
        "Czech",
        "cp1250 iso8859_2",
        """
Knihovna je v pondělí zavřená.
Dobrý den, dnes je opravdu krásné počasí.
Na novém kole jsem jel hodinu podél řeky až k mostu.
Členové si mohou půjčit nářadí na dva týdny, potom se platí pět korun denně.
Nikdo nevěděl, odkud ten člověk přišel, ale všichni ho přivítali.
Na zelený čaj je potřeba voda o teplotě sedmdesáti stupňů.
„Vyrazíme zítra brzy ráno,“ řekl otec.
Žluťoučký kůň pěl ďábelské ódy až do půlnoci.
""",
    ),
    _language(
        "Hungarian",
        "cp1250 iso8859_2",
        """
A könyvtár hétfőn zárva van.
Jó napot, ma nagyon szép idő van.
Az új kerékpárommal egy órát mentem a folyó mentén a hídig.
A tagok két hétre kölcsönözhetnek szerszámokat, utána naponta öt forintot kell fizetni.
Senki sem tudta, honnan jött az az ember, de mindenki örömmel fogadta.
A zöld teához hetven fokos víz kell.
Holnap kora reggel indulunk – mondta az apám.
A kiszolgáló újraindításához rendszergazdai jogosultság szükséges (bővebben a 12. oldalon).
""",
    ),
    _language(
        "Turkish",
        "cp1254 iso8859_9",
        """
Kütüphane pazartesi günleri kapalıdır.
Merhaba, bugün hava gerçekten çok güzel.
Yeni bisikletimle nehir boyunca bir saat kadar gittim, sonra köprüden geçtim.
Üyeler aletleri iki hafta ödünç alabilir, sonra günlüğü beş liradır.
O adamın nereden geldiğini kimse bilmiyordu ama herkes onu sevinçle karşıladı.
Yeşil çay için yetmiş derecelik su gerekir.
Babam “yarın sabah erkenden yola çıkalım” dedi.
Sunucuyu yeniden başlatmak için yönetici yetkisi gereklidir (ayrıntılar 12. sayfada).
""",
    ),
    _language(
        "Lithuanian",
        "cp1257",
        """
Biblioteka pirmadieniais nedirba, ją rasite už kampo.
Laba diena, šiandien labai gražus oras.
Su nauju dviračiu valandą važiavau palei upę iki tilto.
Nariai gali skolintis įrankius dviem savaitėms, vėliau reikia mokėti penkis eurus per dieną.
Niekas nežinojo, iš kur atėjo tas žmogus, bet visi jį šiltai priėmė.
Žaliajai arbatai reikia septyniasdešimties laipsnių vandens.
Išvyksime rytoj anksti rytą, pasakė tėvas.
Norint iš naujo paleisti serverį, būtinos administratoriaus teisės (žr. 12 puslapį).
""",
    ),
    _language(
        "Russian",
        "cp1251 koi8_r cp866 iso8859_5",
        """
Библиотека в понедельник закрыта.
Здравствуйте, сегодня очень хорошая погода.
На новом велосипеде я целый час ехал вдоль реки до самого моста.
Члены клуба могут брать инструменты на две недели, потом нужно платить пять рублей в день.
Никто не знал, откуда пришёл этот человек, но все встретили его приветливо.
Для зелёного чая нужна вода температурой семьдесят градусов.
«Завтра рано утром поедем», сказал отец.
Чтобы перезапустить сервер, нужны права администратора (подробности на странице 12).
""",
    ),
    _language(
        "Ukrainian",
        "cp1251 koi8_u",
        """
Бібліотека в понеділок зачинена.
Добрий день, сьогодні дуже гарна погода.
На новому велосипеді я цілу годину їхав уздовж річки аж до мосту.
Члени клубу можуть брати інструменти на два тижні, потім треба платити п'ять гривень на день.
Ніхто не знав, звідки прийшла ця людина, але всі зустріли її привітно.
Для зеленого чаю потрібна вода з температурою сімдесят градусів.
Завтра рано-вранці поїдемо, сказав батько.
Щоб перезапустити сервер, потрібні права адміністратора (подробиці на сторінці 12).
""",
    ),
    _language(
        "Bulgarian",
        "cp1251",
        """
Библиотеката не работи в понеделник.
Добър ден, днес времето е много хубаво.
С новото колело карах един час покрай реката чак до моста.
Членовете могат да вземат инструменти за две седмици, после се плаща по пет лева на ден.
Никой не знаеше откъде е дошъл този човек, но всички го посрещнаха сърдечно.
За зеления чай е нужна вода от седемдесет градуса.
Утре рано сутринта тръгваме, каза баща ми.
За да рестартирате сървъра, са ви нужни права на администратор (вижте страница 12).
""",
    ),
    _language(
        "Greek",
        "cp1253 iso8859_7",
        """
Η βιβλιοθήκη είναι κλειστή τη Δευτέρα.
Καλημέρα, σήμερα ο καιρός είναι πολύ ωραίος.
Με το καινούργιο ποδήλατο πήγα μία ώρα κατά μήκος του ποταμού μέχρι τη γέφυρα.
Τα μέλη μπορούν να δανείζονται εργαλεία για δύο εβδομάδες, ύστερα πληρώνουν πέντε ευρώ τη μέρα.
Κανείς δεν ήξερε από πού ήρθε εκείνος ο άνθρωπος, αλλά όλοι τον υποδέχτηκαν με χαρά.
Για το πράσινο τσάι χρειάζεται νερό εβδομήντα βαθμών.
Θα φύγουμε αύριο νωρίς το πρωί, είπε ο πατέρας.
Για να ξεκινήσει πάλι ο διακομιστής χρειάζονται δικαιώματα διαχειριστή (βλέπε σελίδα 12).
""",
    ),
    _language(
        "Hebrew",
        "cp1255 iso8859_8",
        """
הספרייה סגורה ביום שני.
שלום, היום מזג האוויר באמת יפה מאוד.
על האופניים החדשים רכבתי שעה לאורך הנהר עד הגשר.
חברים יכולים לשאול כלים לשבועיים, ואחר כך משלמים חמישה שקלים ליום.
איש לא ידע מאין בא האדם הזה, אבל כולם קיבלו אותו בשמחה.
לתה ירוק צריך מים בחום של שבעים מעלות.
מחר מוקדם בבוקר נצא לדרך, אמר אבא.
כדי להפעיל את השרת מחדש נדרשות הרשאות של מנהל (ראו עמוד 12).
""",
    ),
    _language(
        "Arabic",
        "cp1256",
        """
المكتبة مغلقة يوم الاثنين.
مرحبا، الطقس اليوم جميل جدا.
ركبت دراجتي الجديدة ساعة كاملة على طول النهر حتى الجسر.
يمكن للأعضاء استعارة الأدوات لمدة أسبوعين، وبعد ذلك يدفعون خمسة دراهم في اليوم.
لم يكن أحد يعرف من أين جاء ذلك الرجل، لكن الجميع رحبوا به.
يحتاج الشاي الأخضر إلى ماء بدرجة حرارة سبعين.
سنسافر غدا في الصباح الباكر، قال أبي.
لإعادة تشغيل الخادم تحتاج إلى صلاحيات المدير (انظر الصفحة 12).
""",
    ),
    _language(
        "Thai",
        "cp874",
        """
ห้องสมุดปิดวันจันทร์
สวัสดีครับ วันนี้อากาศดีมาก
ผมขี่จักรยานคันใหม่ไปตามแม่น้ำประมาณหนึ่งชั่วโมง
สมาชิกยืมเครื่องมือได้สองสัปดาห์ หลังจากนั้นต้องจ่ายวันละห้าบาท
ไม่มีใครรู้ว่าคนนั้นมาจากไหน แต่ทุกคนก็ต้อนรับเขาอย่างดี
ชาเขียวต้องใช้น้ำร้อนเจ็ดสิบองศา
พ่อบอกว่าพรุ่งนี้เช้าเราจะออกเดินทาง
ถ้าจะเริ่มเซิร์ฟเวอร์ใหม่ต้องมีสิทธิ์ของผู้ดูแลระบบ (ดูหน้า 12)
""",
    ),
)
"""Whoever adds an encoding to what is read adds sentences here."""
