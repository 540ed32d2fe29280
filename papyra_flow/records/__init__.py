"""Records and entries: what is in a stream, batch by batch, and the codecs json, fields and arrow."""
