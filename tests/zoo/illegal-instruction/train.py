import ctypes
import mmap
import platform

# an instruction that no processor of this family has
code = b"\x00\x00\x00\x00" if platform.machine() == "aarch64" else b"\x0f\x0b"
page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
