# Writes OUTPUT, a C file that holds the bytes of the parts of the report's page. An empty CHART
# leaves the chart library out.
# Run: cmake -DOUTPUT=… -DPAGE=… -DSTYLE=… -DSCRIPT=… -DCHART=… -P embed.cmake
set(text "#include \"report/embedded.h\"\n")
foreach(part page style script chart)
  string(TOUPPER "${part}" name)
  set(hex "")
  if(${name})
    file(READ "${${name}}" hex HEX)
  endif()
  string(LENGTH "${hex}" digits)
  math(EXPR bytes "${digits} / 2")
  string(REGEX REPLACE "(..)" "0x\\1," bytes_text "${hex}")
  # A trailing zero: an array is never empty.
  string(APPEND text "\nstatic const unsigned char ${part}_bytes[] = {${bytes_text}0};\n"
         "const cop_embedded cop_embedded_${part} = {${part}_bytes, ${bytes}};\n")
endforeach()
file(WRITE "${OUTPUT}" "${text}")
