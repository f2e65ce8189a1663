# Run by utp_embed(): writes FILES as raw string literals (in pieces below the compiler's literal limit) into OUTPUT.
set(text "#include \"core/embedded_file.h\"\n\nnamespace utp::embedded {\n\nstd::span<const EmbeddedFile> ${VARIABLE}() {\n  static const EmbeddedFile files[] = {\n")
foreach(file ${FILES})
  file(RELATIVE_PATH path ${ROOT} ${file})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" bytes "${hex}")
  # Pieces, so that no literal grows past what compilers take; "" between pieces ends a hex escape.
  string(REGEX REPLACE "((\\\\x[0-9a-f][0-9a-f])(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?)" "\"\\1\"\n" pieces "${bytes}")
  file(SIZE ${file} size)
  string(APPEND text "      {\"${path}\", {${pieces}\"\", ${size}}},\n")
endforeach()
string(APPEND text "  };\n  return files;\n}\n\n}  // namespace utp::embedded\n")
file(WRITE ${OUTPUT} "${text}")
