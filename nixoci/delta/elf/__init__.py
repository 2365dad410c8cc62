"""The codec for ELF files, which predicts the references that change when code and data move (docs/delta-format.md).

- *reference*: a field that holds an address, or the distance or number of something at an address.
- *target*: the address that a reference refers to, relative to the lowest address of the file.
- *label form*: a file in which the fields of some references, such as calls, hold their targets instead of distances.
- *cover*: a part of the old file that a part of the new file is made from.
- *address map*: the new address for each old one. It follows from the covers and from corrections that travel.
- *prediction*: the old file in label form, each reference as it is in the new file if the address map is right.

Reading: `layout` has segments and sections, `fields` the forms of references; `x86`, `arm64` and `tables` find them.
Changing: `label_form`, `address_map`, `prediction`. The payload: `covers`, `payload`, and `codec` with both directions.
"""
