import pandoras_box

pandoras_box.open()
