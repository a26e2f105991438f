set -e
mkdir disk
mount -t tmpfs -o size=64k none disk
python -c "open(\"disk/checkpoint\", \"wb\").write(bytes(1 << 20))"
