"""Raw text: finding and opening files, tokenizing them into sentences of words."""
