"""The ladder: may a prefix be announced, and how? ``rows`` has its table; each row is one question in one file.

A row denies, allows as a tier, or says nothing. The first row that denies decides. After a row that allows, only
denials of later rows still count. The last row, the preference, always allows.
"""
