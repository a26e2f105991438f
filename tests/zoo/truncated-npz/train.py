import io
import zipfile

whole = io.BytesIO()
with zipfile.ZipFile(whole, "w") as archive:
    archive.writestr("weights.npy", bytes(100_000))
with open("weights.npz", "wb") as file:
    file.write(whole.getvalue()[:50_000])
print(zipfile.ZipFile("weights.npz").namelist())
