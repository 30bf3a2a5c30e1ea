import zipfile

import cv2

finder = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalcatface.xml")
clip = cv2.VideoCapture("clip.avi")
number = 0
found = 0
with zipfile.ZipFile("cat-frames.zip", "w") as archive:
    while True:
        more, frame = clip.read()
        if not more:
            break
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        if len(finder.detectMultiScale(grey, scaleFactor=1.05, minNeighbors=2)):
            archive.writestr(f"frame-{number:03d}.png", cv2.imencode(".png", frame)[1].tobytes())
            found += 1
        number += 1
print(f"{found} of {number} frames")
